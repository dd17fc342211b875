// Command vegeta sends requests on a schedule with vegeta's library, and writes its results as CSV.
//
// vegeta's own command waits for the next request with Go's timers. While nothing else happens,
// these end up to 1 ms late, since the runtime waits in epoll for whole milliseconds. That is more
// than a fast answer takes. Here the kernel wakes a thread when a request is due, without slack.
package main

import (
	"bufio"
	"flag"
	"log"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	setTimerSlack = 29 // PR_SET_TIMERSLACK
	exactTimers   = "EXACT_TIMERS"
	// A pinned process would have one processor: the waiting thread would hold it.
	processors = 4
	workers    = 64
	// A connection for each request in flight, so that none waits for another one's.
	connections = 10_000
	timeout     = 30 * time.Second
)

// useExactTimers starts the program again, with all its threads' timers exact. The kernel delays
// them by up to 50 µs otherwise, to wake fewer times, and Go's scheduler uses some, too.
func useExactTimers() error {
	if os.Getenv(exactTimers) != "" {
		return nil
	}
	runtime.LockOSThread()
	if _, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0); failed != 0 {
		return failed
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), exactTimers+"=1"))
}

// schedule is a vegeta.Pacer: request i is due i/rate seconds after the first.
type schedule struct{ rate float64 }

// Pace returns when the next request is due.
func (s schedule) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	begin := time.Now()
	due := time.Duration(float64(hits) / s.rate * float64(time.Second))
	// The last request has been handed to a goroutine. It goes on before this thread waits.
	runtime.Gosched()
	for {
		left := due - elapsed - time.Since(begin)
		if left <= 0 {
			return 0, false
		}
		wait := syscall.NsecToTimespec(left.Nanoseconds())
		// A signal may end it early.
		_ = syscall.Nanosleep(&wait, nil)
	}
}

// Rate returns the requests a second.
func (s schedule) Rate(time.Duration) float64 { return s.rate }

func run() error {
	targets := flag.String("targets", "", "file of vegeta's JSON format: one request for all, or one for each")
	rate := flag.Float64("rate", 0, "requests a second")
	duration := flag.Duration("duration", 0, "for how long")
	output := flag.String("output", "", "file of the results")
	flag.Parse()
	if err := useExactTimers(); err != nil {
		return err
	}
	runtime.GOMAXPROCS(processors)

	input, err := os.Open(*targets)
	if err != nil {
		return err
	}
	defer input.Close()
	all, err := vegeta.ReadAllTargets(vegeta.NewJSONTargeter(bufio.NewReader(input), nil, http.Header{}))
	if err != nil {
		return err
	}
	file, err := os.Create(*output)
	if err != nil {
		return err
	}
	attacker := vegeta.NewAttacker(
		vegeta.Workers(workers), vegeta.Connections(connections), vegeta.Timeout(timeout),
	)
	// Written at the end: to write is not what is measured.
	var results []*vegeta.Result
	pacer := schedule{rate: *rate}
	for result := range attacker.Attack(vegeta.NewStaticTargeter(all...), pacer, *duration, "") {
		results = append(results, result)
	}
	encode := vegeta.NewCSVEncoder(file)
	for _, result := range results {
		if err := encode.Encode(result); err != nil {
			return err
		}
	}
	return file.Close()
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
