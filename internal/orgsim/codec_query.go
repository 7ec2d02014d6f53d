package orgsim

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// formNode is a form with its dotted names taken apart: "Tags.member.1.Key=x" is Tags -> member -> 1 -> Key.
type formNode struct {
	texts    []string
	children map[string]*formNode
}

func (n *formNode) child(name string) *formNode {
	if c := n.children[name]; c != nil {
		return c
	}
	if n.children == nil {
		n.children = make(map[string]*formNode)
	}
	c := &formNode{}
	n.children[name] = c
	return c
}

// items are the numbered children in order.
func (n *formNode) items() []*formNode {
	var numbers []int
	for k := range n.children {
		if i, err := strconv.Atoi(k); err == nil {
			numbers = append(numbers, i)
		}
	}
	slices.Sort(numbers)
	out := make([]*formNode, len(numbers))
	for i, k := range numbers {
		out[i] = n.children[strconv.Itoa(k)]
	}
	return out
}

// decodeForm fills an input from a form of the awsQuery or ec2Query protocol.
func decodeForm(form url.Values, in any, p protocol) error {
	root := &formNode{}
	for key, texts := range form {
		n := root
		for part := range strings.SplitSeq(key, ".") {
			n = n.child(part)
		}
		n.texts = texts
	}
	if err := assignForm(reflect.ValueOf(in).Elem(), root, p); err != nil {
		return errorf("MalformedInput", "%v", err)
	}
	return nil
}

func assignForm(v reflect.Value, n *formNode, p protocol) error {
	switch {
	case v.Type() == timeType:
		return assignText(v, n.texts)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return assignForm(v.Elem(), n, p)
	case v.Kind() == reflect.Struct:
		for name, c := range n.children {
			if i, ok := fieldIndex(v.Type())[strings.ToLower(name)]; ok {
				if err := assignForm(v.Field(i), c, p); err != nil {
					return err
				}
			}
		}
		return nil
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		if p == query {
			n = n.child("member")
		}
		items := n.items()
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, c := range items {
			if err := assignForm(v.Index(i), c, p); err != nil {
				return err
			}
		}
		return nil
	case len(n.texts) == 0:
		return nil
	default:
		return assignText(v, n.texts)
	}
}

// encodeQueryResponse is the XML answer of the awsQuery or ec2Query protocol.
func encodeQueryResponse(o *operation, out any, requestID string) []byte {
	var b bytes.Buffer
	v := reflect.ValueOf(out).Elem()
	b.WriteString("<" + o.name + "Response xmlns=\"" + o.service.xmlns + "\">")
	if o.service.protocol == ec2query {
		element(&b, "requestId", requestID)
		xmlMembers(&b, v, ec2query)
	} else {
		b.WriteString("<" + o.name + "Result>")
		xmlMembers(&b, v, query)
		b.WriteString("</" + o.name + "Result><ResponseMetadata>")
		element(&b, "RequestId", requestID)
		b.WriteString("</ResponseMetadata>")
	}
	b.WriteString("</" + o.name + "Response>")
	return b.Bytes()
}

func xmlMembers(b *bytes.Buffer, v reflect.Value, p protocol) {
	for _, f := range wireFields(v.Type()) {
		name := f.Name
		if p == ec2query {
			name = strings.ToLower(name[:1]) + name[1:]
		}
		xmlValue(b, name, v.FieldByIndex(f.Index), p)
	}
}

func xmlValue(b *bytes.Buffer, name string, v reflect.Value, p protocol) {
	if t, ok := v.Interface().(time.Time); ok {
		element(b, name, t.UTC().Format("2006-01-02T15:04:05Z"))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			xmlValue(b, name, v.Elem(), p)
		}
	case reflect.String:
		if v.Len() > 0 {
			element(b, name, v.String())
		}
	case reflect.Bool:
		element(b, name, strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int32, reflect.Int64:
		element(b, name, strconv.FormatInt(v.Int(), 10))
	case reflect.Struct:
		b.WriteString("<" + name + ">")
		xmlMembers(b, v, p)
		b.WriteString("</" + name + ">")
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			element(b, name, base64.StdEncoding.EncodeToString(v.Bytes()))
			return
		}
		item := "member"
		if p == ec2query {
			item = "item"
		}
		b.WriteString("<" + name + ">")
		for i := range v.Len() {
			xmlValue(b, item, v.Index(i), p)
		}
		b.WriteString("</" + name + ">")
	default:
		panic("orgsim: no XML for " + v.Type().String())
	}
}

// element writes <name>text</name>. A bytes.Buffer never fails to be written to.
func element(b *bytes.Buffer, name, text string) {
	b.WriteString("<" + name + ">")
	_ = xml.EscapeText(b, []byte(text))
	b.WriteString("</" + name + ">")
}

func encodeQueryError(e *apiError, xmlns, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString("<ErrorResponse xmlns=\"" + xmlns + "\"><Error>")
	if e.Status >= 500 {
		element(&b, "Type", "Receiver")
	} else {
		element(&b, "Type", "Sender")
	}
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	b.WriteString("</Error>")
	element(&b, "RequestId", requestID)
	b.WriteString("</ErrorResponse>")
	return b.Bytes()
}

func encodeEC2Error(e *apiError, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString("<Response><Errors><Error>")
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	b.WriteString("</Error></Errors>")
	element(&b, "RequestID", requestID)
	b.WriteString("</Response>")
	return b.Bytes()
}
