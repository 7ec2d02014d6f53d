package orgsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/document"
	"github.com/google/go-cmp/cmp"
)

// The SDK's structs can write themselves by the service's model, which says what every member is called. The
// codec, which goes by the Go fields, must agree with it for every operation that is served.
func TestJSONNamesAgreeWithTheModels(t *testing.T) {
	for _, svc := range New().services {
		if svc.protocol != json11 && svc.protocol != restJSON {
			continue
		}
		for name, o := range svc.ops {
			t.Run(svc.name+"/"+name, func(t *testing.T) {
				in := o.newInput()
				fill(reflect.ValueOf(in).Elem(), 12)
				text, ok := modelJSON(t, in)
				if !ok {
					t.Skip("this module's structs do not write themselves; the aws CLI's tests stand in")
				}
				back := o.newInput()
				if err := decodeJSON(text, back); err != nil {
					t.Fatal(err)
				}
				got, _ := modelJSON(t, back)
				if diff := cmp.Diff(tree(t, text), tree(t, got)); diff != "" {
					t.Errorf("input (-sent +decoded):\n%s", diff)
				}

				out := reflect.New(o.output).Interface()
				fill(reflect.ValueOf(out).Elem(), 12)
				want, _ := modelJSON(t, out)
				if diff := cmp.Diff(tree(t, want), tree(t, encodeJSON(out, svc.lowerCamel))); diff != "" {
					t.Errorf("output (-model +codec):\n%s", diff)
				}
			})
		}
	}
}

// fill sets every field to something that is not zero, down to a depth (types are recursive).
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth-1)
		}
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(time.UnixMilli(1767225600123).UTC()))
			return
		}
		for _, f := range wireFields(v.Type()) {
			fill(v.FieldByIndex(f.Index), depth-1)
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("blob"))
		} else if depth > 0 && v.Type().Elem().Kind() != reflect.Interface {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), depth-1)
		}
	case reflect.Map:
		if depth > 0 {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, depth-1)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), e)
		}
	}
}

func modelJSON(t *testing.T, v any) ([]byte, bool) {
	t.Helper()
	s, ok := v.(smithy.Serializable)
	if !ok {
		return nil, false
	}
	r := &recorder{}
	s.Serialize(r)
	text, err := json.Marshal(r.root)
	if err != nil {
		t.Fatal(err)
	}
	return text, true
}

func tree(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// recorder is a ShapeSerializer that builds a tree by the model's member names.
type recorder struct {
	root  any
	stack []any // *[]any or map[string]any
	key   string
	noKey bool
}

func (r *recorder) put(s *smithy.Schema, v any) {
	if len(r.stack) == 0 {
		r.root = v
		return
	}
	switch top := r.stack[len(r.stack)-1].(type) {
	case map[string]any:
		if r.noKey {
			top[r.key], r.noKey = v, false
		} else {
			top[s.MemberName()] = v
		}
	case *[]any:
		*top = append(*top, v)
	}
}

func (r *recorder) push(s *smithy.Schema, v any) { r.put(s, v); r.stack = append(r.stack, v) }
func (r *recorder) pop()                         { r.stack = r.stack[:len(r.stack)-1] }

func (r *recorder) Bytes() []byte                            { return nil }
func (r *recorder) WriteInt8(s *smithy.Schema, v int8)       { r.put(s, v) }
func (r *recorder) WriteInt16(s *smithy.Schema, v int16)     { r.put(s, v) }
func (r *recorder) WriteInt32(s *smithy.Schema, v int32)     { r.put(s, v) }
func (r *recorder) WriteInt64(s *smithy.Schema, v int64)     { r.put(s, v) }
func (r *recorder) WriteFloat32(s *smithy.Schema, v float32) { r.put(s, v) }
func (r *recorder) WriteFloat64(s *smithy.Schema, v float64) { r.put(s, v) }
func (r *recorder) WriteBool(s *smithy.Schema, v bool)       { r.put(s, v) }
func (r *recorder) WriteString(s *smithy.Schema, v string)   { r.put(s, v) }
func (r *recorder) WriteBigInt(*smithy.Schema, *big.Int)     {}
func (r *recorder) WriteBigFloat(*smithy.Schema, *big.Float) {}
func (r *recorder) WriteBlob(s *smithy.Schema, v []byte)     { r.put(s, v) }
func (r *recorder) WriteTime(s *smithy.Schema, v time.Time)  { r.put(s, float64(v.UnixMilli())/1000) }
func (r *recorder) WriteUnion(s, variant *smithy.Schema) {
	r.push(s, map[string]any{})
	r.key, r.noKey = variant.MemberName(), true
}
func (r *recorder) CloseUnion()                                  { r.pop() }
func (r *recorder) WriteDocument(*smithy.Schema, document.Value) {}
func (r *recorder) WriteNil(s *smithy.Schema)                    { r.put(s, nil) }
func (r *recorder) WriteStruct(s *smithy.Schema)                 { r.push(s, map[string]any{}) }
func (r *recorder) CloseStruct()                                 { r.pop() }
func (r *recorder) WriteList(s *smithy.Schema)                   { r.push(s, &[]any{}) }
func (r *recorder) CloseList()                                   { r.pop() }
func (r *recorder) WriteMap(s *smithy.Schema)                    { r.push(s, map[string]any{}) }
func (r *recorder) WriteKey(_ *smithy.Schema, key string)        { r.key, r.noKey = key, true }
func (r *recorder) CloseMap()                                    { r.pop() }

func TestEncodeJSON(t *testing.T) {
	at := time.UnixMilli(1767225600123)
	out := &ecr.DescribeImagesOutput{ImageDetails: []ecrtypes.ImageDetail{{
		ImageTags: []string{"a\"\\\n\x01é\xff"}, ImageSizeInBytes: aws.Int64(0), ImagePushedAt: &at, LastRecordedPullTime: aws.Time(at.Truncate(time.Second)),
	}, {ImageTags: []string{}}}}
	want := `{"imageDetails":[{"imagePushedAt":1767225600.123,"imageSizeInBytes":0,"imageTags":["a\"\\\n\u0001é` + "\uFFFD" +
		`"],"lastRecordedPullTime":1767225600},{"imageTags":[]}]}`
	if got := string(encodeJSON(out, true)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEncodeTypedError(t *testing.T) {
	err := &ecrtypes.ReferencedImagesNotFoundException{Message: aws.String("gone")}
	e, detail := ecrService().asAPIError(fmt.Errorf("wrapped: %w", err))
	want := `{"__type":"ReferencedImagesNotFoundException","message":"gone"}`
	if got := string(encodeJSONError(e, detail, true)); got != want || e.Status != 400 {
		t.Errorf("got %d %s, want 400 %s", e.Status, got, want)
	}
	e, _ = ecrService().asAPIError(&ecrtypes.ServerException{Message: aws.String("oh")})
	if e.Status != 500 {
		t.Errorf("a server's fault has status %d", e.Status)
	}
}

func TestDecodeJSONRefusesWrongTypes(t *testing.T) {
	for _, text := range []string{`{"maxResults":"5"}`, `{"maxResults":1.5}`, `{"maxResults":99999999999}`, `{"imageIds":{}}`, `{"repositoryName":1}`, `[]`, `{`} {
		err := decodeJSON([]byte(text), &ecr.DescribeImagesInput{})
		if e, ok := errors.AsType[*apiError](err); !ok || e.Code != "SerializationException" {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func BenchmarkEncodeImages(b *testing.B) {
	at := time.UnixMilli(1767225600123)
	out := &ecr.DescribeImagesOutput{}
	for i := range 1000 {
		out.ImageDetails = append(out.ImageDetails, ecrtypes.ImageDetail{
			ImageDigest: aws.String("sha256:" + strings.Repeat("0", 60) + fmt.Sprintf("%04d", i)), ImageTags: []string{fmt.Sprintf("v%d", i)},
			ImageSizeInBytes: aws.Int64(123456789), ImagePushedAt: &at, LastRecordedPullTime: &at, RegistryId: aws.String(accountA),
			RepositoryName: aws.String("team/service"), ImageManifestMediaType: aws.String("application/vnd.oci.image.manifest.v1+json"),
			ArtifactMediaType: aws.String("application/vnd.oci.image.config.v1+json"), ImageStatus: ecrtypes.ImageStatusActive,
		})
	}
	for b.Loop() {
		b.SetBytes(int64(len(encodeJSON(out, true))))
	}
}
