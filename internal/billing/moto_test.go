package billing

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/cost"
)

// An independent stand-in for AWS reads the request and answers what it was told to, once for each page. moto has no Price
// List.
func TestMoto(t *testing.T) {
	if testing.Short() {
		t.Skip("moto takes seconds to start")
	}
	moto := startMoto(t)
	const a = "123456789012"
	results := fmt.Sprintf(`{"results":[%s,%s]}`,
		page("2", month("2026-10-01", "2026-11-01", false, a+" APN1-TimedStorage-ByteHrs 10.0000000001 100.0000000000 GB-Mo")),
		page("", month("2026-11-01", "2026-12-01", true, a+" TimedStorage-ByteHrs 1.2E-3 0.0125 GB-Mo", a+" EUC1-DataTransfer-Out-Bytes -0.5 9 GB")))
	res, err := http.Post(moto+"/moto-api/static/ce/cost-and-usage-results", "application/json", strings.NewReader(results))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatal(res.Status)
	}
	got, err := Bill(t.Context(), costexplorer.NewFromConfig(config(moto, "AKIA")), "UnblendedCost", now)
	if err != nil {
		t.Fatal(err)
	}
	want := &cost.Bill{Metric: "UnblendedCost", Currency: "USD", AsOf: now, Lines: []cost.BillLine{
		{Month: "2026-10", Account: a, Region: "ap-northeast-1", UsageType: "APN1-TimedStorage-ByteHrs", Storage: true, Amount: 10_000_000, Quantity: 100 << 30},
		{Month: "2026-11", Account: a, Region: "eu-central-1", UsageType: "EUC1-DataTransfer-Out-Bytes", Amount: -500_000, Provisional: true},
		{Month: "2026-11", Account: a, Region: "us-east-1", UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 1_200, Quantity: 13_421_773, Provisional: true},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// startMoto runs moto_server until the test ends, and gives its endpoint.
func startMoto(t *testing.T) string {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed: pip install 'moto[server]==5.2.1'")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", port)
	cmd.Env = append(os.Environ(), "MOTO_EC2_LOAD_DEFAULT_AMIS=false")
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		res, err := http.Get("http://" + address + "/moto-api/data.json")
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return "http://" + address
		}
	}
	t.Fatal("moto_server does not answer")
	return ""
}
