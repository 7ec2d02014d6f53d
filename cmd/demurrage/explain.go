package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"demurrage/internal/image"
	"demurrage/report"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "says every reason why an image is kept or goes, with the resources that use it",
		ArgsUsage: "REF",
		Description: `REF is a reference in any spelling: by tag, by digest, or by both. The last stored run is asked; without one, a scan
comes first.

  demurrage explain 222222222222.dkr.ecr.us-east-1.amazonaws.com/platform/envoy-sidecar:v1.1.0
  demurrage explain --run 20261120T224303Z-4f2a 222222222222.dkr-ecr.us-east-1.on.aws/platform/envoy-sidecar:v1.1.0`,
		Flags: []cli.Flag{runFlag(), nowFlag(), acceptFlag()},
		Action: func(c *cli.Context) error {
			ref, err := image.ParseRef(c.Args().First())
			if err != nil {
				return fmt.Errorf("%q: %w", c.Args().First(), err)
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			id, err := s.storedRun(c.Context, c.String("run"), "")
			if err != nil {
				return err
			}
			run, err := s.planned(c.Context, id)
			if err != nil {
				return err
			}
			if err := report.Explain(s.stdout, run.Run, ref); err != nil {
				return err
			}
			return verdict(run.Run, c.Bool("accept-incomplete"))
		},
	}
}
