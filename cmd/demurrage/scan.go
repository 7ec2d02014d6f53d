package main

import "github.com/urfave/cli/v2"

func scanCommand() *cli.Command {
	return &cli.Command{
		Name:  "scan",
		Usage: "scans every account and region, stores what was found, and prints what was looked at",
		Description: `Reads only. Each finished account and region is stored at once, so that an interrupted scan goes on with --resume.

  demurrage scan
  demurrage scan --resume`,
		Flags: []cli.Flag{resumeFlag(), nowFlag(), acceptFlag()},
		Action: func(c *cli.Context) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			run, err := s.planOf(c.Context, "")
			if err != nil {
				return err
			}
			if err := s.coverage(run); err != nil {
				return err
			}
			s.closing(run, nil, s.proceed(run, "", run.ID))
			return verdict(run, c.Bool("accept-incomplete"))
		},
	}
}
