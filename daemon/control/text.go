package control

import (
	"encoding/base64"
	"reflect"
	"strings"
	"unicode/utf8"
)

// JSON strings are Unicode, names of files are bytes. A string that is not UTF-8
// travels as marker and base64 of its bytes. The marker holds a NUL, which is in
// no name or path; a string that begins with it is escaped too.
const marker = "\x00base64:"

func plain(s string) bool { return utf8.ValidString(s) && !strings.HasPrefix(s, marker) }

// escape returns v with every string in it, at any depth of structs, slices
// and pointers, fit for JSON. v itself is not changed; where nothing
// is to be done it is returned as it is.
func escape[T any](v T) T {
	r := reflect.ValueOf(&v).Elem()
	if !needsEscape(r) {
		return v
	}
	return rewrite(r, func(s string) string {
		if plain(s) {
			return s
		}
		return marker + base64.StdEncoding.EncodeToString([]byte(s))
	}).Interface().(T)
}

// unescape undoes escape. A string that only looks escaped stays as it is.
func unescape[T any](v T) T {
	r := reflect.ValueOf(&v).Elem()
	if !needsUnescape(r) {
		return v
	}
	return rewrite(r, func(s string) string {
		if rest, ok := strings.CutPrefix(s, marker); ok {
			if b, err := base64.StdEncoding.DecodeString(rest); err == nil {
				return string(b)
			}
		}
		return s
	}).Interface().(T)
}

func needsEscape(v reflect.Value) bool { return anyString(v, func(s string) bool { return !plain(s) }) }

func needsUnescape(v reflect.Value) bool {
	return anyString(v, func(s string) bool { return strings.HasPrefix(s, marker) })
}

// anyString reports whether ok holds for a string in v.
func anyString(v reflect.Value, ok func(string) bool) bool {
	switch v.Kind() {
	case reflect.String:
		return ok(v.String())
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && anyString(v.Elem(), ok)
	case reflect.Slice, reflect.Array:
		if isFlat(v.Type().Elem()) {
			return false
		}
		for i := range v.Len() {
			if anyString(v.Index(i), ok) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && anyString(v.Field(i), ok) {
				return true
			}
		}
	}
	return false
}

// rewrite returns a copy of v in which fn was applied to every string. What holds
// none is shared with v.
func rewrite(v reflect.Value, fn func(string) string) reflect.Value {
	switch v.Kind() {
	case reflect.String:
		out := reflect.New(v.Type()).Elem()
		out.SetString(fn(v.String()))
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(rewrite(v.Elem(), fn))
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(rewrite(v.Elem(), fn))
		return out
	case reflect.Slice:
		if v.IsNil() || isFlat(v.Type().Elem()) {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(rewrite(v.Index(i), fn))
		}
		return out
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(rewrite(v.Field(i), fn))
			}
		}
		return out
	}
	return v
}

// isFlat reports whether values of a type cannot hold strings.
func isFlat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Struct, reflect.Map:
		return false
	}
	return true
}
