// Goroutines: CPU-bound ones, channels, a garbage-collected tree; preempted by SIGURG.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

type node struct {
	left, right *node
	value       int
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{value: 1}
	}
	return &node{tree(depth - 1), tree(depth - 1), depth}
}

func (n *node) sum() int {
	if n == nil {
		return 0
	}
	return n.value + n.left.sum() + n.right.sum()
}

func main() {
	landings := 25
	if len(os.Args) > 1 {
		landings, _ = strconv.Atoi(os.Args[1])
	}
	runtime.GOMAXPROCS(4)
	var spinning int64
	var racing uint64
	var wait sync.WaitGroup
	numbers := make(chan int, 16)
	sums := make(chan int)
	for i := 0; i < 4; i++ { // without a call: only a signal stops them
		wait.Add(1)
		go func(me uint64) {
			defer wait.Done()
			for n := 0; n < landings*400000; n++ {
				racing = racing*3 + me
			}
			atomic.AddInt64(&spinning, 1)
		}(uint64(i))
	}
	for i := 0; i < 2; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			total := 0
			for n := range numbers {
				total += tree(n%8 + 6).sum()
			}
			sums <- total
		}()
	}
	go func() {
		for n := 0; n < landings*20; n++ {
			numbers <- n
		}
		close(numbers)
	}()
	total := <-sums + <-sums
	wait.Wait()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Println(total, racing, spinning, stats.NumGC > 0)
}
