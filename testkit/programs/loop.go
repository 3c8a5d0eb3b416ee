// A server of net/http that asks another one for each request: loop PORT SOCKETS prints
// its port. It asks over kept connections, SOCKETS at most; 0: over new ones.
// /now/ID asks for /now/ID before it does anything else, /later/ID after 5 to 20 ms,
// /apart/ID in a goroutine of its own.
package main

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	sockets, _ := strconv.Atoi(os.Args[2])
	client := http.Client{Transport: &http.Transport{
		MaxConnsPerHost: sockets, MaxIdleConnsPerHost: sockets,
		DisableKeepAlives: sockets == 0}}
	ask := func(path string) {
		answer, err := client.Get("http://127.0.0.1:" + os.Args[1] + path)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/later/") {
			time.Sleep(time.Duration(5000+rand.Intn(15000)) * time.Microsecond)
		}
		if strings.HasPrefix(r.URL.Path, "/apart/") {
			done := make(chan bool)
			go func() {
				ask(r.URL.Path)
				done <- true
			}()
			<-done
		} else {
			ask(r.URL.Path)
		}
		io.WriteString(w, "hello\n")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, nil))
}
