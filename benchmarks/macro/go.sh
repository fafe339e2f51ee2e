# row: Go build of an HTTP server
. /mnt/macro/lib.sh
export GOCACHE=/tmp/gocache GOFLAGS=-p=2 GO111MODULE=off GOPATH=/tmp/gopath
mkdir -p /tmp/go
cd /tmp/go
cat >main.go <<'END'
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"text/template"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		template.Must(template.New("x").Parse("{{.}}")).Execute(w, r.URL.Path)
	})
	out, _ := json.Marshal(map[string]int{"answer": 42})
	fmt.Println(string(out))
}
END
timed go build -o server main.go
[ "$(./server)" = '{"answer":42}' ]
