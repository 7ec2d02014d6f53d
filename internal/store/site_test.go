package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"demurrage/internal/orgsim"
)

// site is where a store is, so that several can be opened there, in other processes too.
type site struct{ location, endpoint string }

// everywhere runs a test in a directory and on the simulator's S3.
func everywhere(t *testing.T, f func(t *testing.T, p site)) {
	t.Parallel()
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		f(t, site{location: filepath.Join(t.TempDir(), "data")})
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		f(t, simulated(t))
	})
}

func simulated(t *testing.T) site {
	t.Helper()
	sim := httptest.NewServer(orgsim.New())
	t.Cleanup(sim.Close)
	p := site{"s3://demurrage/some/prefix", sim.URL}
	p.makeBucket(t)
	return p
}

func (p site) config() aws.Config {
	return aws.Config{
		Region: virginia, BaseEndpoint: &p.endpoint,
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 20 * time.Millisecond })
		},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: orgsim.ManagementAccount, SecretAccessKey: "secret"}, nil
		}),
	}
}

func (p site) makeBucket(t *testing.T) {
	t.Helper()
	client := s3.NewFromConfig(p.config(), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("demurrage")}); err != nil {
		t.Fatal(err)
	}
}

func (p site) onS3() bool { return p.endpoint != "" }

func (p site) open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), p.location, silent, func(context.Context) (aws.Config, error) { return p.config(), nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// behind puts a proxy before S3. If before gives false, it has answered itself; if after gives false, the answer is lost.
func (p site) behind(t *testing.T, before func(http.ResponseWriter, *http.Request) bool, after func(*http.Request) bool) site {
	t.Helper()
	target, err := url.Parse(p.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(res *http.Response) error {
		if after != nil && !after(res.Request) {
			panic(http.ErrAbortHandler)
		}
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || before(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return site{p.location, front.URL}
}

func s3Answer(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants</Message></Error>", code)
}

func conditional(r *http.Request) bool {
	return r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*"
}

// put stores an object as somebody else could.
func put(t *testing.T, s *Store, key, text string) {
	t.Helper()
	if err := s.write(t.Context(), key, nil, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestCreate: of all that create an object, one succeeds.
func TestCreate(t *testing.T) {
	everywhere(t, testCreate)
}

func testCreate(t *testing.T, p site) {
	s := p.open(t)
	for i := range 3 {
		exists, err := s.create(t.Context(), "a/b/c.json", []byte(strconv.Itoa(i)), opaque)
		if err != nil || exists != (i > 0) {
			t.Errorf("%d: exists %v, %v", i, exists, err)
		}
	}
	if data, err := s.readAll(t.Context(), "a/b/c.json"); err != nil || string(data) != "0" {
		t.Errorf("%q, %v", data, err)
	}
	if names, err := s.names(t.Context(), "a/b/"); err != nil || len(names) != 1 {
		t.Errorf("beside it: %q, %v", names, err)
	}
	if names, err := s.names(t.Context(), "nothing/"); err != nil || len(names) != 0 {
		t.Errorf("names of nothing: %q, %v", names, err)
	}
}

// TestCreateRace: the same, all at once and from many handles. Not on moto, which looks and writes in two steps.
func TestCreateRace(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		const rounds, many = 5, 10
		var made atomic.Int32
		done := make(chan error)
		for range many {
			s := p.open(t)
			go func() {
				for round := range rounds {
					exists, err := s.create(t.Context(), "x/"+strconv.Itoa(round), []byte("x"), opaque)
					if err == nil && !exists {
						made.Add(1)
					}
					done <- err
				}
			}()
		}
		for range rounds * many {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := made.Load(); n != rounds {
			t.Errorf("%d of %d objects were made", n, rounds)
		}
	})
}

// TestCreateConflict: S3 may say that two came at once and neither won.
func TestCreateConflict(t *testing.T) {
	t.Parallel()
	var conflicts atomic.Int32
	p := simulated(t).behind(t, func(w http.ResponseWriter, r *http.Request) bool {
		if conditional(r) && conflicts.Add(1) <= 2 {
			s3Answer(w, http.StatusConflict, "ConditionalRequestConflict")
			return false
		}
		return true
	}, nil)
	if exists, err := p.open(t).create(t.Context(), "x", []byte("x"), opaque); err != nil || exists || conflicts.Load() != 3 {
		t.Errorf("exists %v, %v after %d requests", exists, err, conflicts.Load())
	}
}

// The same on moto, which nobody here wrote.
func TestMoto(t *testing.T) {
	t.Parallel()
	endpoint := startMoto(t)
	site{"s3://demurrage", endpoint}.makeBucket(t)
	for name, f := range map[string]func(*testing.T, site){
		"create": testCreate, "lock": testLock, "journal": testJournal, "two-writers": testTwoWriters, "gaps": testGaps,
	} {
		t.Run(name, func(t *testing.T) { f(t, site{"s3://demurrage/" + name, endpoint}) })
	}
}

// startMoto runs moto_server until the test ends, and gives its endpoint. cmd/demurrage has more of it.
func startMoto(t *testing.T) string {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed: pip install 'moto[server]==5.2.1'")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "moto.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		_ = log.Close()
	})
	endpoint := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if res, err := http.Get(endpoint + "/moto-api/data.json"); err == nil {
			_ = res.Body.Close()
			return endpoint
		}
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("moto_server does not answer\n%s", said)
	return ""
}

// ---- Other processes -----------------------------------------------------------------------------------------------

// children are what another process can be told to do with a store: say writes a line to who started it, and wait reads one.
var children = map[string]func(t *testing.T, s *Store, id string, say func(any), wait func()){}

// TestChild is the other process.
func TestChild(t *testing.T) {
	f := children[os.Getenv("DEMURRAGE_TEST_CHILD")]
	if f == nil {
		return // it is this one
	}
	in := bufio.NewReader(os.Stdin)
	p := site{os.Getenv("DEMURRAGE_TEST_LOCATION"), os.Getenv("DEMURRAGE_TEST_ENDPOINT")}
	f(t, p.open(t), os.Getenv("DEMURRAGE_TEST_ID"), func(v any) {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child: %s\n", line)
	}, func() { _, _ = in.ReadString('\n') })
}

// child is another process as this one sees it.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func (p site) child(t *testing.T, what, id string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "DEMURRAGE_TEST_CHILD="+what, "DEMURRAGE_TEST_LOCATION="+p.location,
		"DEMURRAGE_TEST_ENDPOINT="+p.endpoint, "DEMURRAGE_TEST_ID="+id)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// hear reads the next line that the child says. There may be none any more.
func (c *child) hear(v any) bool {
	for c.out.Scan() {
		if line, ok := strings.CutPrefix(c.out.Text(), "child: "); ok {
			if err := json.Unmarshal([]byte(line), v); err != nil {
				c.t.Fatal(err)
			}
			return true
		}
		c.t.Logf("child: %s", c.out.Text())
	}
	return false
}

func (c *child) goOn() {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		c.t.Fatal(err)
	}
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	var held *HeldError
	switch {
	case errors.Is(err, ErrLockLost):
		return "lost: " + err.Error()
	case errors.Is(err, ErrBusy):
		return "busy: " + err.Error()
	case errors.As(err, &held):
		return "held: " + err.Error()
	}
	return err.Error()
}
