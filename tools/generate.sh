#!/bin/sh
# Regenerates the Go code of protocol/sendonce.proto into protocol/internal/pb.
# The same input gives the same bytes: protoc-gen-go is pinned in tools/go.mod,
# and the comment lines that name compiler versions are dropped.
set -eu
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || {
	echo "generate.sh: protoc is not installed (Debian: apt-get install protobuf-compiler)" >&2
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd tools && go build -o "$work/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go)
protoc --plugin="protoc-gen-go=$work/protoc-gen-go" --proto_path=protocol \
	--go_out="$work" --go_opt=paths=source_relative sendonce.proto
sed -e '/^\/\/ versions:$/d' -e '/^\/\/ 	protoc/d' "$work/sendonce.pb.go" >"$work/out.go"
gofmt "$work/out.go" >protocol/internal/pb/sendonce.pb.go
