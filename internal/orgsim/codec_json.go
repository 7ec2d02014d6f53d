package orgsim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	eventstypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/smithy-go"
)

type smithyError = smithy.APIError

var timeType = reflect.TypeFor[time.Time]()

// The JSON codec works on the SDK's own input and output structs by reflection. It is written by hand since
// encoding/json knows neither the services' member names nor their timestamps, and since answers with a
// thousand images are what benchmarks of the scanner wait for.

// wireNames are the members that do not follow their service's naming, by Go type and field.
var wireNames = map[reflect.Type]map[string]string{
	reflect.TypeFor[ecrtypes.Tag]():                                {"Key": "Key", "Value": "Value"},
	reflect.TypeFor[eventstypes.NetworkConfiguration]():            {"AwsvpcConfiguration": "awsvpcConfiguration"},
	reflect.TypeFor[eventstypes.CapacityProviderStrategyItem]():    {"CapacityProvider": "capacityProvider", "Base": "base", "Weight": "weight"},
	reflect.TypeFor[eventstypes.PlacementConstraint]():             {"Expression": "expression", "Type": "type"},
	reflect.TypeFor[eventstypes.PlacementStrategy]():               {"Field": "field", "Type": "type"},
	reflect.TypeFor[schedulertypes.CapacityProviderStrategyItem](): {"CapacityProvider": "capacityProvider", "Base": "base", "Weight": "weight"},
	reflect.TypeFor[schedulertypes.NetworkConfiguration]():         {"AwsvpcConfiguration": "awsvpcConfiguration"},
	reflect.TypeFor[schedulertypes.PlacementConstraint]():          {"Expression": "expression", "Type": "type"},
	reflect.TypeFor[schedulertypes.PlacementStrategy]():            {"Field": "field", "Type": "type"},
}

// wireName is the JSON name of a struct field.
func wireName(t reflect.Type, field string, lowerCamel bool) string {
	if n := wireNames[t][field]; n != "" {
		return n
	}
	if !lowerCamel {
		return field
	}
	return strings.ToLower(field[:1]) + field[1:]
}

// wireFields are the fields of an SDK struct that travel.
func wireFields(t reflect.Type) []reflect.StructField {
	var out []reflect.StructField
	for f := range t.Fields() {
		if f.IsExported() && f.Name != "ResultMetadata" && f.Name != "ErrorCodeOverride" {
			out = append(out, f)
		}
	}
	return out
}

// encodeFunc appends the JSON of a value.
type encodeFunc func(b []byte, v reflect.Value) []byte

// fieldPlan is how one struct field is written: key is `"name":`.
type fieldPlan struct {
	index  int
	key    string
	omit   func(reflect.Value) bool
	encode encodeFunc
}

type structPlan struct{ fields []fieldPlan }

func (p *structPlan) encode(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	return append(p.members(b, v, false), '}')
}

func (p *structPlan) members(b []byte, v reflect.Value, comma bool) []byte {
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		if f.omit != nil && f.omit(fv) {
			continue
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		b = append(b, f.key...)
		b = f.encode(b, fv)
	}
	return b
}

// planKey: the same type never travels in two services, but the naming is part of the key all the same.
type planKey struct {
	t          reflect.Type
	lowerCamel bool
}

// plans caches the struct plans. A plan is put there before its fields are known, since types are recursive;
// mu keeps it from being used by then.
var plans = struct {
	mu sync.RWMutex
	m  map[planKey]*structPlan
}{m: make(map[planKey]*structPlan)}

func planOf(t reflect.Type, lowerCamel bool) *structPlan {
	plans.mu.RLock()
	p := plans.m[planKey{t, lowerCamel}]
	plans.mu.RUnlock()
	if p != nil {
		return p
	}
	plans.mu.Lock()
	defer plans.mu.Unlock()
	return buildPlan(t, lowerCamel)
}

func buildPlan(t reflect.Type, lowerCamel bool) *structPlan {
	key := planKey{t, lowerCamel}
	if p := plans.m[key]; p != nil {
		return p
	}
	p := &structPlan{}
	plans.m[key] = p
	for _, f := range wireFields(t) {
		fp := fieldPlan{index: f.Index[0], key: strconv.Quote(wireName(t, f.Name, lowerCamel)) + ":", encode: buildEncoder(f.Type, lowerCamel)}
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
			fp.omit = reflect.Value.IsNil
		case reflect.String: // an enum that is not set
			fp.omit = reflect.Value.IsZero
		}
		p.fields = append(p.fields, fp)
	}
	return p
}

func buildEncoder(t reflect.Type, lowerCamel bool) encodeFunc {
	switch t.Kind() {
	case reflect.Pointer:
		elem := buildEncoder(t.Elem(), lowerCamel)
		return func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, "null"...)
			}
			return elem(b, v.Elem())
		}
	case reflect.Struct:
		if t == timeType {
			return func(b []byte, v reflect.Value) []byte { return appendEpoch(b, v.Interface().(time.Time)) }
		}
		return buildPlan(t, lowerCamel).encode
	case reflect.String:
		return func(b []byte, v reflect.Value) []byte { return appendString(b, v.String()) }
	case reflect.Bool:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendBool(b, v.Bool()) }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendInt(b, v.Int(), 10) }
	case reflect.Float32, reflect.Float64:
		bits := t.Bits()
		return func(b []byte, v reflect.Value) []byte { return strconv.AppendFloat(b, v.Float(), 'g', -1, bits) }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return func(b []byte, v reflect.Value) []byte {
				b = append(b, '"')
				b = base64.StdEncoding.AppendEncode(b, v.Bytes())
				return append(b, '"')
			}
		}
		elem := buildEncoder(t.Elem(), lowerCamel)
		return func(b []byte, v reflect.Value) []byte {
			b = append(b, '[')
			for i := range v.Len() {
				if i > 0 {
					b = append(b, ',')
				}
				b = elem(b, v.Index(i))
			}
			return append(b, ']')
		}
	case reflect.Map:
		elem := buildEncoder(t.Elem(), lowerCamel)
		return func(b []byte, v reflect.Value) []byte {
			keys := v.MapKeys()
			slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
			b = append(b, '{')
			for i, k := range keys {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(appendString(b, k.String()), ':')
				b = elem(b, v.MapIndex(k))
			}
			return append(b, '}')
		}
	case reflect.Interface:
		return func(b []byte, v reflect.Value) []byte { return appendUnion(b, v, lowerCamel) }
	default:
		panic(fmt.Sprintf("orgsim: no JSON for %v", t))
	}
}

// appendUnion writes a Smithy union: the SDK makes it an interface Foo whose variants are *FooMemberBar{Value}.
func appendUnion(b []byte, v reflect.Value, lowerCamel bool) []byte {
	if v.IsNil() {
		return append(b, "null"...)
	}
	if d, ok := v.Interface().(interface{ MarshalSmithyDocument() ([]byte, error) }); ok {
		raw, err := d.MarshalSmithyDocument()
		if err != nil {
			return append(b, "null"...)
		}
		return append(b, raw...)
	}
	variant := reflect.Indirect(v.Elem())
	name := strings.TrimPrefix(variant.Type().Name(), v.Type().Name()+"Member")
	if lowerCamel {
		name = strings.ToLower(name[:1]) + name[1:]
	}
	value := variant.FieldByName("Value")
	b = append(appendString(append(b, '{'), name), ':')
	b = encodeValue(b, value, lowerCamel)
	return append(b, '}')
}

func encodeValue(b []byte, v reflect.Value, lowerCamel bool) []byte {
	plans.mu.Lock()
	enc := buildEncoder(v.Type(), lowerCamel)
	plans.mu.Unlock()
	return enc(b, v)
}

// encodeJSON is the JSON of an SDK output struct (a pointer to it).
func encodeJSON(out any, lowerCamel bool) []byte {
	v := reflect.ValueOf(out).Elem()
	return planOf(v.Type(), lowerCamel).encode(make([]byte, 0, 1024), v)
}

// encodeJSONError is the body of an error answer; detail is the SDK's typed error or nil.
func encodeJSONError(e *apiError, detail any, lowerCamel bool) []byte {
	b := appendString([]byte(`{"__type":`), e.Code)
	b = appendString(append(b, `,"message":`...), e.Message)
	if v := reflect.Indirect(reflect.ValueOf(detail)); detail != nil && v.Kind() == reflect.Struct {
		p := planOf(v.Type(), lowerCamel)
		rest := structPlan{fields: slices.DeleteFunc(slices.Clone(p.fields), func(f fieldPlan) bool {
			return strings.EqualFold(f.key, `"message":`)
		})}
		b = rest.members(b, v, true)
	}
	return append(b, '}')
}

// appendEpoch writes a timestamp as AWS's JSON services do: seconds, with milliseconds where there are some.
func appendEpoch(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(b, ms/1000, 10)
	}
	return strconv.AppendFloat(b, float64(ms)/1000, 'f', 3, 64)
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		default: // a byte that is not UTF-8
			b = append(b, "\uFFFD"...)
		}
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// decodeJSON fills an SDK input struct from a request's body. Unknown members are ignored, as AWS does; values
// of the wrong type are a SerializationException.
func decodeJSON(body []byte, in any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var data any
	if err := d.Decode(&data); err != nil {
		return errorf("SerializationException", "%v", err)
	}
	if err := assignJSON(reflect.ValueOf(in).Elem(), data); err != nil {
		return errorf("SerializationException", "%v", err)
	}
	return nil
}

// assignJSON puts decoded JSON into a value of an SDK type.
func assignJSON(v reflect.Value, data any) error {
	if data == nil {
		return nil
	}
	mismatch := func() error { return fmt.Errorf("%T cannot be read as %v", data, v.Type()) }
	if v.Type() == timeType {
		t, err := parseTimestamp(data)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(t))
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return assignJSON(v.Elem(), data)
	case reflect.Interface:
		return assignUnion(v, data)
	case reflect.String:
		s, ok := data.(string)
		if !ok {
			return mismatch()
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := data.(bool)
		if !ok {
			return mismatch()
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := data.(json.Number)
		if !ok {
			return mismatch()
		}
		i, err := strconv.ParseInt(string(n), 10, v.Type().Bits())
		if err != nil {
			return mismatch()
		}
		v.SetInt(i)
	case reflect.Float32, reflect.Float64:
		n, ok := data.(json.Number)
		if !ok {
			return mismatch()
		}
		f, err := n.Float64()
		if err != nil {
			return mismatch()
		}
		v.SetFloat(f)
	case reflect.Slice:
		return assignList(v, data, mismatch)
	case reflect.Map:
		m, ok := data.(map[string]any)
		if !ok {
			return mismatch()
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(m)))
		for k, e := range m {
			ev := reflect.New(v.Type().Elem()).Elem()
			if err := assignJSON(ev, e); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			v.SetMapIndex(reflect.ValueOf(k).Convert(v.Type().Key()), ev)
		}
	case reflect.Struct:
		m, ok := data.(map[string]any)
		if !ok {
			return mismatch()
		}
		for k, e := range m {
			i, ok := fieldIndex(v.Type())[strings.ToLower(k)]
			if !ok {
				continue
			}
			if err := assignJSON(v.Field(i), e); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
	default:
		return mismatch()
	}
	return nil
}

func assignList(v reflect.Value, data any, mismatch func() error) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		s, ok := data.(string)
		if !ok {
			return mismatch()
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return err
		}
		v.SetBytes(raw)
		return nil
	}
	list, ok := data.([]any)
	if !ok {
		return mismatch()
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, e := range list {
		if err := assignJSON(v.Index(i), e); err != nil {
			return err
		}
	}
	return nil
}

// parseTimestamp reads epoch seconds or RFC 3339.
func parseTimestamp(data any) (time.Time, error) {
	switch x := data.(type) {
	case json.Number:
		f, err := x.Float64()
		if err != nil {
			return time.Time{}, err
		}
		return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
	case string:
		return time.Parse(time.RFC3339Nano, x)
	default:
		return time.Time{}, fmt.Errorf("%T is not a timestamp", data)
	}
}

var fieldIndexes sync.Map // reflect.Type -> map[string]int

// fieldIndex maps the lower-case wire names of a struct to its fields.
func fieldIndex(t reflect.Type) map[string]int {
	if m, ok := fieldIndexes.Load(t); ok {
		return m.(map[string]int)
	}
	m := make(map[string]int)
	for _, f := range wireFields(t) {
		m[strings.ToLower(wireName(t, f.Name, false))] = f.Index[0]
	}
	fieldIndexes.Store(t, m)
	return m
}

// restRoute is the HTTP binding of a restJSON operation.
type restRoute struct {
	method   string
	segments []routeSegment
	status   int
	query    []queryField
}

// queryField is a field that comes from the query string, and what it is called there.
type queryField struct{ name, field string }

// routeSegment is a literal, or the field that a path segment fills.
type routeSegment struct {
	literal, field string
	rest           bool
}

func newRestRoute(method, path string, status int, query []string) *restRoute {
	r := &restRoute{method: method, status: status}
	for _, q := range query {
		name, field, renamed := strings.Cut(q, "=")
		if !renamed {
			field = name
		}
		r.query = append(r.query, queryField{name, field})
	}
	for s := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			name, rest := strings.CutSuffix(strings.TrimSuffix(name, "}"), "+")
			r.segments = append(r.segments, routeSegment{field: name, rest: rest})
		} else {
			r.segments = append(r.segments, routeSegment{literal: s})
		}
	}
	return r
}

// match returns the path's variables and how many segments are literal, or false.
func (rt *restRoute) match(method string, segments []string) (vars map[string]string, literals int, ok bool) {
	if method != rt.method {
		return nil, 0, false
	}
	vars = make(map[string]string)
	for i, s := range rt.segments {
		switch {
		case i >= len(segments):
			return nil, 0, false
		case s.rest:
			vars[s.field] = strings.Join(segments[i:], "/")
			return vars, literals, true
		case s.field != "":
			if segments[i] == "" {
				return nil, 0, false
			}
			vars[s.field] = segments[i]
		case s.literal != segments[i]:
			return nil, 0, false
		default:
			literals++
		}
	}
	return vars, literals, len(segments) == len(rt.segments)
}

// matchRoute finds the operation of a restJSON request; the most literal template wins.
func (svc *service) matchRoute(r *request) *operation {
	var segments []string
	for s := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		u, err := url.PathUnescape(s)
		if err != nil {
			return nil
		}
		segments = append(segments, u)
	}
	var found *operation
	best := -1
	for _, o := range svc.ops {
		if vars, n, ok := o.route.match(r.Method, segments); ok && n > best {
			found, best, r.path = o, n, vars
		}
	}
	return found
}

// decodeREST fills an input from the body, the path and the query string.
func decodeREST(rt *restRoute, r *request, in any) error {
	if err := decodeJSON(r.body, in); err != nil {
		return err
	}
	v := reflect.ValueOf(in).Elem()
	for name, text := range r.path {
		if err := assignText(v.FieldByName(name), []string{text}); err != nil {
			return errorf("SerializationException", "%s: %v", name, err)
		}
	}
	for key, texts := range r.URL.Query() {
		i := slices.IndexFunc(rt.query, func(q queryField) bool { return strings.EqualFold(q.name, key) })
		if i < 0 {
			continue
		}
		if err := assignText(v.FieldByName(rt.query[i].field), texts); err != nil {
			return errorf("SerializationException", "%s: %v", key, err)
		}
	}
	return nil
}

// assignText puts text of a path, a query string or a form into a value.
func assignText(v reflect.Value, texts []string) error {
	text := texts[0]
	switch {
	case !v.IsValid():
		return fmt.Errorf("the input has no such field")
	case v.Type() == timeType:
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(t))
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return assignText(v.Elem(), texts)
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Int32, reflect.Int64, reflect.Int:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return err
		}
		v.SetInt(n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), len(texts), len(texts)))
		for i := range texts {
			if err := assignText(v.Index(i), texts[i:i+1]); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%v cannot be text", v.Type())
	}
	return nil
}

// unions are the Smithy unions that operations take, by the SDK's interface: the variants by their wire name. It is
// written while services are built, and read afterwards.
var (
	unionsMu sync.Mutex
	unions   = make(map[reflect.Type]map[string]reflect.Type)
)

// registerUnion makes known what variants the union U has; they are *FooMemberBar{Value} in the SDK.
func registerUnion[U any](variants map[string]any) {
	unionsMu.Lock()
	defer unionsMu.Unlock()
	members := make(map[string]reflect.Type)
	for name, v := range variants {
		members[name] = reflect.TypeOf(v)
	}
	unions[reflect.TypeFor[U]()] = members
}

func assignUnion(v reflect.Value, data any) error {
	unionsMu.Lock()
	members := unions[v.Type()]
	unionsMu.Unlock()
	object, ok := data.(map[string]any)
	if !ok || len(object) != 1 {
		return fmt.Errorf("%T cannot be read as %v: a union has one member", data, v.Type())
	}
	for name, value := range object {
		member, ok := members[name]
		if !ok {
			return fmt.Errorf("%v has no member %q here", v.Type(), name)
		}
		variant := reflect.New(member)
		if err := assignJSON(variant.Elem().FieldByName("Value"), value); err != nil {
			return err
		}
		v.Set(variant)
	}
	return nil
}
