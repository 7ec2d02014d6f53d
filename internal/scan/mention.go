package scan

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"demurrage/internal/image"
)

// Some services hold what they start as a text: the definition of a state machine, the input of a schedule, a recipe.
// mentions finds in it every image and every name of something that can be looked up.

var (
	// mentionedImage is wide: what it finds is parsed strictly.
	mentionedImage = regexp.MustCompile(`(?i)[a-z0-9{}$.()-]*\.dkr[.-]ecr[^\s"'<>\\,;|()]*`)
	// goesOn is what stands behind a part of a text that is put together at run time: a placeholder of EventBridge, or the
	// end of a literal that something is joined to.
	goesOn       = regexp.MustCompile(`^(?:<|\\*["']\s*[&+$])`)
	mentionedARN = regexp.MustCompile(`arn:[a-z-]+:(?:ecs:[a-z0-9-]+:[0-9]{12}:task-definition/[\w-]+(?::[0-9]+)?` +
		`|batch:[a-z0-9-]+:[0-9]{12}:job-definition/[\w-]+(?::[0-9]+)?` +
		`|lambda:[a-z0-9-]+:[0-9]{12}:function:[\w-]+(?::(?:\$LATEST|[\w-]+))?)`)
)

// mentions records what a text names as used by the resource of use: images, task definitions, job definitions and
// functions, be the text JSON (whose strings may be JSON again) or not. What is computed at run time is noted, and where
// only the tag is, every image of the repository may be meant. op is the operation that gave the text.
func (w *work) mentions(op string, use image.Use, text string) {
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		if _, scalar := v.(string); !scalar {
			w.mentionsIn(op, use, v)
			return
		}
	}
	for _, found := range imagesNamed(text) {
		w.mentionedImage(op, use, found)
	}
	for _, arn := range mentionedARN.FindAllString(text, -1) {
		w.mentionedARN(use, arn)
	}
}

// imagesNamed finds the images that a text names. What is filled in at run time is written as "{…}".
func imagesNamed(text string) []string {
	var named []string
	for _, at := range mentionedImage.FindAllStringIndex(text, -1) {
		found := text[at[0]:at[1]]
		_, name, _ := strings.Cut(found, "/")
		whole := name != "" && !strings.HasSuffix(name, "/") // a registry, or a part of one, is no name of an image
		if whole && (strings.HasSuffix(found, ":") || strings.HasSuffix(found, "@") || goesOn.MatchString(text[at[1]:])) {
			found += "{…}"
		}
		named = append(named, strings.TrimRight(found, ".:@"))
	}
	return named
}

func (w *work) mentionsIn(op string, use image.Use, v any) {
	switch v := v.(type) {
	case string:
		w.mentions(op, use, v)
	case []any:
		for _, e := range v {
			w.mentionsIn(op, use, e)
		}
	case map[string]any:
		for key, e := range v {
			text, isText := e.(string)
			kind := mentionKinds[strings.ToLower(strings.TrimSuffix(key, ".$"))]
			switch {
			case !isText || kind == "":
				w.mentionsIn(op, use, e)
			case computed(key, text):
				w.note(use.Resource, "the "+kindNames[kind]+" that it starts is computed at run time: "+clipped(text))
				w.mentions(op, use, text)
			case kind == "lambda":
				if q := qualifierIn(v); q != "" && !strings.Contains(text, ":"+q) {
					text += ":" + q
				}
				w.pin(kind, text, use)
			default:
				w.pin(kind, text, use)
			}
		}
	}
}

// mentionKinds are the keys under which the APIs that can be called from a text take a name, in lower case.
var mentionKinds = map[string]string{
	"taskdefinition": "ecs", "taskdefinitionarn": "ecs", "jobdefinition": "batch", "functionname": "lambda",
}

var kindNames = map[string]string{"ecs": "task definition", "batch": "job definition", "lambda": "function"}

func qualifierIn(m map[string]any) string {
	for key, v := range m {
		if text, ok := v.(string); ok && strings.EqualFold(key, "Qualifier") {
			return text
		}
	}
	return ""
}

// computed reports whether a state machine or schedule computes a value: JSONPath under a key that ends in ".$", a
// JSONata expression, or a placeholder.
func computed(key, text string) bool {
	return strings.HasSuffix(key, ".$") || strings.HasPrefix(strings.TrimSpace(text), "{%") || strings.ContainsAny(text, "{<")
}

func (w *work) mentionedARN(use image.Use, arn string) {
	switch service := strings.Split(arn, ":")[2]; service {
	case "ecs", "batch", "lambda":
		w.pin(service, arn, use)
	}
}

// mentionedImage records an image that a text names. Where a part of it is filled in at run time, what stands before
// that part counts: with the whole repository (be it only its name's beginning) all of its images may be meant, with less
// than that nobody knows.
func (w *work) mentionedImage(op string, use image.Use, text string) {
	i := strings.IndexAny(text, "{$<*")
	if i < 0 {
		w.use(op, use, text, "")
		return
	}
	repository, _, tagged := strings.Cut(text[:i], ":")
	if at := strings.IndexByte(repository, '@'); at >= 0 {
		repository, tagged = repository[:at], true
	}
	ref, err := image.ParseRef(repository)
	if _, ok := errors.AsType[*image.ParseError](err); ok || !tagged {
		w.note(use.Resource, "the repository of an image that it starts is computed at run time: "+clipped(text))
	}
	if err != nil {
		return
	}
	ref.Tag, ref.Digest = "", ""
	use.Unknown = "the tag of " + clipped(text) + " is computed at run time"
	w.add(use, ref)
}

// clipped is a text from AWS, short enough for a note.
func clipped(text string) string {
	const most = 120
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
