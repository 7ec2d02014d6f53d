package accounts

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// DurationError is a text that is not a duration of the configuration.
type DurationError struct{ Text string }

func (e *DurationError) Error() string {
	return fmt.Sprintf("%q is not a duration (use 30d, 2w or 24h)", clip(e.Text))
}

const day = 24 * time.Hour

// ParseDuration reads a duration as the configuration writes it: a positive whole number and one unit, d (24 hours),
// w (7 days) or h. Everything else is a *DurationError. The shortest is thus one hour.
func ParseDuration(text string) (time.Duration, error) {
	d, ok := parseSpan(text, map[byte]time.Duration{'h': time.Hour, 'd': day, 'w': 7 * day})
	if !ok {
		return 0, &DurationError{text}
	}
	return d, nil
}

// parseSpan reads a positive whole number and one of the units.
func parseSpan(text string, units map[byte]time.Duration) (time.Duration, bool) {
	if len(text) < 2 || text[0] < '0' || text[0] > '9' { // no sign
		return 0, false
	}
	unit := units[text[len(text)-1]]
	n, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	if err != nil || n == 0 || unit == 0 || n > math.MaxInt64/int64(unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
