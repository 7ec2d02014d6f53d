package scan

import (
	"encoding/json"
	"slices"
	"strings"

	"demurrage/internal/image"
)

// images records every image that an answer of AWS names as used by the resource of use, whichever field it stands in:
// services add fields, and what an answer about a resource names the resource may need. The detail is the field's path.
func (w *work) images(op string, use image.Use, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		w.fail(op, use.Resource, err)
		return
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		w.fail(op, use.Resource, err)
		return
	}
	w.imagesIn(op, use, nil, v, "")
}

// imagesIn walks a value; digest is what stands beside it as the digest that its image was resolved to.
func (w *work) imagesIn(op string, use image.Use, path []string, v any, digest string) {
	switch v := v.(type) {
	case map[string]any:
		digest := ""
		for _, key := range []string{"ResolvedImageDigest", "ImageDigest"} {
			if d, ok := v[key].(string); ok && digest == "" {
				digest = d
			}
		}
		for _, key := range sortedKeys(v) {
			w.imagesIn(op, use, append(slices.Clip(path), key), v[key], digest)
		}
	case []any:
		for _, e := range v {
			w.imagesIn(op, use, path, e, "")
		}
	case string:
		if !strings.Contains(strings.ToLower(v), ".dkr") {
			return
		}
		u := use
		u.Detail = strings.TrimPrefix(use.Detail+", "+strings.Join(path, "."), ", ")
		for _, found := range imagesNamed(v) {
			if found == v {
				w.use(op, u, v, digest)
			} else {
				w.mentionedImage(op, u, found)
			}
		}
	}
}
