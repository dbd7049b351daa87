package config

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// setting is one key of the file, bound to its field.
type setting struct {
	key      string
	env      string
	def      string
	doc      string
	required bool
	field    reflect.Value
}

// envPrefix begins the name of every variable of ours.
const envPrefix = "PIPESTREAMER_"

// settingsOf lists the settings of c in the order of its fields. A field
// without a key tag is not a setting.
func settingsOf(c *Config) []setting {
	return appendSettings(nil, reflect.ValueOf(c).Elem(), "")
}

func appendSettings(list []setting, section reflect.Value, prefix string) []setting {
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		key, tagged := tag.Lookup("key")
		if !tagged {
			continue
		}
		field := section.Field(i)
		if field.Kind() == reflect.Struct {
			list = appendSettings(list, field, prefix+key+".")
			continue
		}
		list = append(list, setting{
			key: prefix + key, env: envName(prefix + key), def: tag.Get("default"),
			doc: tag.Get("doc"), required: tag.Get("required") == "true", field: field,
		})
	}
	return list
}

// envName gives the variable of a key: hana.passwordFile becomes
// PIPESTREAMER_HANA_PASSWORD_FILE, and clientCAFile CLIENT_CA_FILE.
func envName(key string) string {
	var name strings.Builder
	name.WriteString(envPrefix)
	lower, runes := false, []rune(key)
	for i, r := range runes {
		endsCapitals := i > 0 && unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if unicode.IsUpper(r) && (lower || endsCapitals) {
			name.WriteByte('_')
		}
		lower = unicode.IsLower(r)
		if r == '.' {
			r = '_'
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}

// filesOf gives the files that settings name, by their keys; some may be empty.
func filesOf(c *Config) map[string]string {
	files := map[string]string{"notify.template": c.Notify.Template}
	for _, s := range settingsOf(c) {
		if file, text := reflect.TypeAssert[string](s.field); text && strings.HasSuffix(s.key, "File") {
			files[s.key] = file
		}
	}
	for section, named := range map[string]map[string]string{"store.secrets.": c.Store.Secrets, "http.tokens.": c.HTTP.Tokens} {
		for name, file := range named {
			files[section+name] = file
		}
	}
	return files
}

// isList reports whether the setting holds several texts, none of which has a space
// or a comma in it.
func (s setting) isList() bool {
	_, texts := reflect.TypeAssert[[]string](s.field)
	return texts
}

// isMap reports whether the setting holds entries by name.
func (s setting) isMap() bool { return s.field.Kind() == reflect.Map }

// set parses text into the field. The error says what was expected.
func (s setting) set(text string) error {
	switch target := s.field.Addr().Interface().(type) {
	case *string:
		*target = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("expected a whole number")
		}
		*target = n
	case *bool:
		value, known := map[string]bool{"true": true, "false": false}[text]
		if !known {
			return errors.New("expected true or false")
		}
		*target = value
	case *[]string:
		*target = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("expected a duration such as 90s or 5m")
		}
		*target = d
	case *Size:
		return parseTo(target, text, ParseSize)
	case *Bandwidth:
		return parseTo(target, text, ParseBandwidth)
	default:
		return errors.New("this kind of setting cannot be read")
	}
	return nil
}

func parseTo[T any](target *T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*target = value
	}
	return err
}

// typeName is the word for the type in the reference.
func (s setting) typeName() string {
	switch s.field.Interface().(type) {
	case int:
		return "number"
	case bool:
		return "true/false"
	case time.Duration:
		return "duration"
	case Size:
		return "size"
	case Bandwidth:
		return "bandwidth"
	case []string:
		return "list of texts"
	case map[string]string:
		return "map of texts"
	default:
		return "text"
	}
}
