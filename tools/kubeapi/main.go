// Command kubeapi runs a real Kubernetes API server with its etcd in one process, for tests of what reads clusters. It
// has no controllers and no nodes: whoever seeds it creates pods and writes their status.
//
//	kubeapi --dir DIR [--webhook URL]
//
// It prints one line of JSON when it is ready, {"url", "ca" (PEM), "token" (of an administrator)}, and ends when its
// standard input does, so that it never outlives a test. With --webhook, tokens that it does not know are put before
// that URL as a TokenReview: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	dir := flag.String("dir", "", "an empty directory for all state")
	webhook := flag.String("webhook", "", "URL that token reviews are sent to")
	flag.Parse()
	if err := run(*dir, *webhook); err != nil {
		fmt.Fprintln(os.Stderr, "kubeapi:", err)
		os.Exit(1)
	}
}

func run(dir, webhook string) error {
	if dir == "" {
		return errors.New("--dir is missing")
	}
	etcd, err := startEtcd(filepath.Join(dir, "etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()

	port, err := freePort()
	if err != nil {
		return err
	}
	token := rand.Text()
	args, err := arguments(dir, etcd.Clients[0].Addr().String(), port, token, webhook)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	command := app.NewAPIServerCommand()
	command.SetArgs(args)
	command.SetContext(ctx)
	ended := make(chan error, 1)
	go func() { ended <- command.ExecuteContext(ctx) }()

	base := fmt.Sprintf("https://127.0.0.1:%d", port)
	ca, err := ready(base, filepath.Join(dir, "certs", "apiserver.crt"), token, ended)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": base, "ca": string(ca), "token": token}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // nothing here is worth an orderly end
	}()
	return <-ended
}

func startEtcd(dir string) (*embed.Etcd, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	clients, peers := url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = dir, "error"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-time.After(time.Minute):
		etcd.Close()
		return nil, errors.New("etcd does not get ready")
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func arguments(dir, etcd string, port int, token, webhook string) ([]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signing, tokens := filepath.Join(dir, "signing.key"), filepath.Join(dir, "tokens.csv")
	files := map[string][]byte{
		signing: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		tokens:  fmt.Appendf(nil, "%s,admin,admin,system:masters\n", token),
	}
	args := []string{
		"--etcd-servers=http://" + etcd,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir=" + filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + signing,
		"--service-account-signing-key-file=" + signing,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount", // nobody makes the default accounts
		"--token-auth-file=" + tokens,
	}
	if webhook != "" {
		config := filepath.Join(dir, "webhook.json") // JSON is YAML
		text, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": "hook",
			"clusters": []any{map[string]any{"name": "hook", "cluster": map[string]any{"server": webhook}}},
			"users":    []any{map[string]any{"name": "hook", "user": map[string]any{}}},
			"contexts": []any{map[string]any{"name": "hook", "context": map[string]any{"cluster": "hook", "user": "hook"}}},
		})
		if err != nil {
			return nil, err
		}
		files[config] = text
		args = append(args, "--authentication-token-webhook-config-file="+config, "--authentication-token-webhook-version=v1",
			"--authentication-token-webhook-cache-ttl=1s")
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// ready waits until the server says so, and gives the certificate that it made for itself, with that of its issuer.
func ready(base, certificate, token string, ended <-chan error) ([]byte, error) {
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the API server ended: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
		ca, err := os.ReadFile(certificate)
		if err != nil {
			continue
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		client := &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		}
		req, err := http.NewRequest(http.MethodGet, base+"/readyz", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(req)
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return ca, nil
		}
	}
	return nil, errors.New("the API server does not get ready")
}
