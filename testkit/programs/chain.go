// chain SECONDS: the chain in Go, in the main goroutine and in another.
package main

import (
	"os"
	"strconv"
	"sync"
	"time"
)

var sink uint64

//go:noinline
func f01(n uint64) uint64 {
	var space [2]uint64
	space[n%2] = n
	return f02(n+1)*3 + space[0]
}

//go:noinline
func f02(n uint64) uint64 {
	var space [3]uint64
	space[n%3] = n
	return f03(n+1)*3 + space[0]
}

//go:noinline
func f03(n uint64) uint64 {
	var space [4]uint64
	space[n%4] = n
	return f04(n+1)*3 + space[0]
}

//go:noinline
func f04(n uint64) uint64 {
	var space [5]uint64
	space[n%5] = n
	return f05(n+1)*3 + space[0]
}

//go:noinline
func f05(n uint64) uint64 {
	var space [1]uint64
	space[n%1] = n
	return f06(n+1)*3 + space[0]
}

//go:noinline
func f06(n uint64) uint64 {
	var space [2]uint64
	space[n%2] = n
	return f07(n+1)*3 + space[0]
}

//go:noinline
func f07(n uint64) uint64 {
	var space [3]uint64
	space[n%3] = n
	return f08(n+1)*3 + space[0]
}

//go:noinline
func f08(n uint64) uint64 {
	var space [4]uint64
	space[n%4] = n
	return f09(n+1)*3 + space[0]
}

//go:noinline
func f09(n uint64) uint64 {
	var space [5]uint64
	space[n%5] = n
	return f10(n+1)*3 + space[0]
}

//go:noinline
func f10(n uint64) uint64 {
	var space [1]uint64
	space[n%1] = n
	return f11(n+1)*3 + space[0]
}

//go:noinline
func f11(n uint64) uint64 {
	var space [2]uint64
	space[n%2] = n
	return f12(n+1)*3 + space[0]
}

//go:noinline
func f12(n uint64) uint64 {
	var space [3]uint64
	space[n%3] = n
	return f13(n+1)*3 + space[0]
}

//go:noinline
func f13(n uint64) uint64 {
	var space [4]uint64
	space[n%4] = n
	return f14(n+1)*3 + space[0]
}

//go:noinline
func f14(n uint64) uint64 {
	var space [5]uint64
	space[n%5] = n
	return f15(n+1)*3 + space[0]
}

//go:noinline
func f15(n uint64) uint64 {
	var space [1]uint64
	space[n%1] = n
	return f16(n+1)*3 + space[0]
}

//go:noinline
func f16(n uint64) uint64 {
	var space [2]uint64
	space[n%2] = n
	return f17(n+1)*3 + space[0]
}

//go:noinline
func f17(n uint64) uint64 {
	var space [3]uint64
	space[n%3] = n
	return f18(n+1)*3 + space[0]
}

//go:noinline
func f18(n uint64) uint64 {
	var space [4]uint64
	space[n%4] = n
	return f19(n+1)*3 + space[0]
}

//go:noinline
func f19(n uint64) uint64 {
	var space [5]uint64
	space[n%5] = n
	return f20(n+1)*3 + space[0]
}

//go:noinline
func f20(n uint64) uint64 {
	var space [1]uint64
	space[n%1] = n
	return leaf(n+1)*3 + space[0]
}

//go:noinline
func leaf(n uint64) uint64 {
	for i := uint64(0); i < 2000; i++ {
		n += i ^ n<<1
	}
	return n
}

func work(seconds float64) uint64 {
	begin := time.Now()
	var sum uint64
	for time.Since(begin).Seconds() < seconds {
		for i := uint64(0); i < 100; i++ {
			sum += f01(i)
		}
	}
	return sum
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		panic(err)
	}
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		sink += work(seconds)
		group.Done()
	}()
	sink += work(seconds)
	group.Wait()
}
