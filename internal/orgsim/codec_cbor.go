package orgsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Some SDKs speak to services of the JSON protocols in CBOR instead: the operation is in the path,
// /service/GameLift/operation/ListContainerFleets, and the bodies are the same trees. What is served so has no
// timestamps and no blobs.
//
// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html

func speaksCBOR(r *http.Request) bool { return r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor" }

// cborOperation is the operation that the path names.
func cborOperation(r *http.Request) string {
	return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
}

func decodeCBOR(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	v, err := cbor.Decode(body)
	if err == nil {
		var text []byte
		if text, err = json.Marshal(plainCBOR(v)); err == nil {
			return decodeJSON(text, into)
		}
	}
	return errorf("SerializationException", "%v", err)
}

// plainCBOR is a value as encoding/json takes it.
func plainCBOR(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := make(map[string]any, len(v))
		for key, e := range v {
			m[key] = plainCBOR(e)
		}
		return m
	case cbor.List:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plainCBOR(e)
		}
		return list
	case cbor.String:
		return string(v)
	case cbor.Bool:
		return bool(v)
	case cbor.Uint:
		return uint64(v)
	case cbor.NegInt:
		return -1 - int64(v)
	case cbor.Float32:
		return float64(v)
	case cbor.Float64:
		return float64(v)
	default:
		return nil
	}
}

// encodeCBOR turns an answer in JSON into one in CBOR.
func encodeCBOR(text []byte) []byte {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(fmt.Sprintf("an answer is not JSON: %v", err))
	}
	return cbor.Encode(toCBOR(v))
}

func toCBOR(v any) cbor.Value {
	switch v := v.(type) {
	case map[string]any:
		m := make(cbor.Map, len(v))
		for key, e := range v {
			m[key] = toCBOR(e)
		}
		return m
	case []any:
		list := make(cbor.List, len(v))
		for i, e := range v {
			list[i] = toCBOR(e)
		}
		return list
	case string:
		return cbor.String(v)
	case bool:
		return cbor.Bool(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			if n < 0 {
				return cbor.NegInt(uint64(-1 - n))
			}
			return cbor.Uint(n)
		}
		f, _ := v.Float64()
		return cbor.Float64(f)
	default:
		return &cbor.Nil{}
	}
}
