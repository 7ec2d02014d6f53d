package report

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Format is a form of the report.
type Format string

// The formats.
const (
	FormatTable    Format = "table"
	FormatJSON     Format = "json"
	FormatCSV      Format = "csv"
	FormatMarkdown Format = "markdown"
	FormatHTML     Format = "html"
	FormatFOCUS    Format = "focus" // CSV with the columns of FOCUS
	FormatWorkbook Format = "xlsx"
)

// ParseFormat understands the value of a --format flag: the formats that are text.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case FormatTable, FormatJSON, FormatCSV, FormatMarkdown, FormatHTML, FormatFOCUS:
		return f, nil
	case "md":
		return FormatMarkdown, nil
	case FormatWorkbook:
		return "", fmt.Errorf("format %q is for files only: name one that ends in .xlsx", s)
	}
	return "", fmt.Errorf("format %q is not supported: use table, json, csv, markdown, html or focus", s)
}

// FormatOf chooses the format of a file by the ending of its name.
func FormatOf(path string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".xlsx":
		return FormatWorkbook, nil
	case ".json":
		return FormatJSON, nil
	case ".csv":
		return FormatCSV, nil
	case ".md":
		return FormatMarkdown, nil
	case ".html":
		return FormatHTML, nil
	case "":
		return "", fmt.Errorf("file %q has no ending to choose a format by: use .xlsx, .html, .csv, .json or .md", path)
	default:
		return "", fmt.Errorf("files that end in %q are not supported: use .xlsx, .html, .csv, .json or .md", ext)
	}
}
