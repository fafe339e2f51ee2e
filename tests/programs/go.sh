# root: full
# timeout: 400
# A static Go program with goroutines, timers, channels, processes.
export HOME=/tmp GOCACHE=/tmp/gocache CGO_ENABLED=0 GOFLAGS=-p=2
mkdir -p /tmp/go && cd /tmp/go
cat >main.go <<'END'
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			time.Sleep(time.Millisecond)
			mu.Lock()
			total += n
			mu.Unlock()
		}(i)
	}
	wg.Wait()
	fmt.Println("total", total)
	c := make(chan int)
	go func() {
		for i := 0; i < 5; i++ {
			c <- i * i
		}
		close(c)
	}()
	for v := range c {
		fmt.Print(v, " ")
	}
	fmt.Println()
	t := time.NewTicker(5 * time.Millisecond)
	for i := 0; i < 3; i++ {
		<-t.C
	}
	t.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	select {
	case <-ctx.Done():
		fmt.Println(ctx.Err())
	case <-time.After(5 * time.Second):
		fmt.Println("late")
	}
	out, err := exec.Command("echo", "child of go").Output()
	fmt.Print(string(out), err, "\n")
	s := make(chan os.Signal, 1)
	signal.Notify(s, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-s)
	os.WriteFile("/tmp/go/file", make([]byte, 100000), 0600)
	info, _ := os.Stat("/tmp/go/file")
	fmt.Println(info.Size())
	spin := 0
	done := make(chan bool)
	go func() {
		for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
			spin++
		}
		done <- true
	}()
	<-done
	fmt.Println(spin > 0)
	defer func() { fmt.Println("recovered:", recover() != nil); os.Exit(4) }()
	var p *int
	fmt.Println(*p)
}
END
go version | cut -d' ' -f3 | cut -d. -f1
go build -o program main.go && ./program; echo "code $?"
