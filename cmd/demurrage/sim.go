package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"demurrage/internal/orgsim"
)

func simCommand() *cli.Command {
	return &cli.Command{
		Name:  "sim",
		Usage: "serves the simulated organization, for the aws CLI, other tools and tests",
		Description: `Serves until it is interrupted. An access key of 12 digits is that account; any other is the management account 999999999999.
It prints the variables that another terminal has to export to use it.

  demurrage sim --write-config accounts.toml
  AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=222222222222 AWS_SECRET_ACCESS_KEY=any \
    aws ecr describe-repositories --region us-east-1
  curl -X POST http://127.0.0.1:4566/_sim/clock -d '{"now": "2026-01-31T00:00:00Z"}'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:4566", Usage: "the `ADDRESS` to listen on; port 0 chooses one"},
			&cli.StringFlag{Name: "seed", Value: "demo", Usage: "demo (a company), empty (one account) or scale (1,000,000 images)"},
			&cli.StringFlag{Name: "write-config", Usage: "write an accounts.toml for the seed into `FILE`, which must not exist"},
		},
		Action: func(c *cli.Context) error {
			server, config, err := seeded(c.String("seed"), time.Now().UTC())
			if err != nil {
				return err
			}
			if path := c.String("write-config"); path != "" {
				if err := writeNew(path, config); err != nil {
					return err
				}
			}
			server.SetClock(time.Time{}) // from here on it runs
			listener, err := (&net.ListenConfig{}).Listen(c.Context, "tcp", c.String("listen"))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "simulated organization (%s) on http://%s\n%s", c.String("seed"), listener.Addr(), simExports(c.String("seed"), "http://"+listener.Addr().String()))
			return serve(c.Context, listener, server)
		},
	}
}

// simExports are the shell commands after which demurrage and the aws CLI in another terminal use the organization at
// an endpoint: as the account that demurrage is meant to run in, and with the external id that its roles ask for.
func simExports(seed, endpoint string) string {
	account, externalID := orgsim.ManagementAccount, ""
	if seed == "demo" {
		company := orgsim.Demo()
		account, externalID = company.Hub, company.ExternalID
	}
	lines := "export AWS_ENDPOINT_URL=" + endpoint + " AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1\n" +
		"export AWS_ACCESS_KEY_ID=" + account + " AWS_SECRET_ACCESS_KEY=any AWS_SESSION_TOKEN=\n"
	if externalID != "" {
		lines += "export DEMURRAGE_EXTERNAL_ID=" + externalID + "\n"
	}
	return lines
}

// seeded makes a simulated organization and the configuration that fits it.
func seeded(seed string, now time.Time) (*orgsim.Server, []byte, error) {
	server := orgsim.New()
	switch seed {
	case "demo":
		return server, orgsim.DemoConfig(), server.SeedDemo(now)
	case "empty":
		return server, nil, nil
	case "scale":
		const accounts, regions, images = 500, 4, 500
		return server, orgsim.ScaleConfig(accounts, regions), server.SeedScale(now, accounts, regions, images)
	default:
		return nil, nil, fmt.Errorf("--seed: %q is none of demo, empty, scale", seed)
	}
}

// serve answers until ctx is done.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return context.Cause(ctx)
}

// writeNew writes a file that does not exist yet: nobody's configuration is overwritten.
func writeNew(path string, data []byte) error {
	if data == nil {
		return fmt.Errorf("--write-config: there is nothing to configure in an empty organization")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("--write-config: %w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
