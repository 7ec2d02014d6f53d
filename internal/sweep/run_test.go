package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// fakeECR answers by a function.
type fakeECR func(*ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error)

func (f fakeECR) BatchDeleteImage(_ context.Context, in *ecr.BatchDeleteImageInput, _ ...func(*ecr.Options)) (*ecr.BatchDeleteImageOutput, error) {
	return f(in)
}

// sweepAll sweeps whole repositories of one account and gives the ledger.
func sweepAll(t *testing.T, client API, present map[image.Digest]bool, inventories ...image.Inventory) *journal.Ledger {
	t.Helper()
	rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 24 * time.Hour, AllowEmpty: true}}}
	merged := planner.Merge(rules, now, planner.Usage{})
	var work []Work
	looked := map[string]Looked{}
	begin := journal.Begin{}
	for i := range inventories {
		inv := &inventories[i]
		work = append(work, Work{Repository: inv.Repository, Images: all(inv.Images...)})
		looked[inv.Repository.Name] = Looked{Plan: merged.Repository(inv)}
		p := journal.Planned{Account: inv.Repository.Account, Region: inv.Repository.Region}
		for k := range inv.Images {
			p.Add(journal.Tally{Images: 1, Bytes: inv.Images[k].OwnBytes()})
		}
		begin.PlannedIn = append(begin.PlannedIn, p)
	}
	l := journal.NewLedger()
	if err := l.Apply(&journal.Record{Kind: journal.KindBegin, Begin: &begin}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	err := Run(t.Context(), Options{
		ReviewedAt: now, Concurrency: 1, MaxFailures: 2, Log: slog.New(slog.DiscardHandler),
		Enter: func(_ context.Context, _ string, r []image.Repository) ([]Session, error) {
			return []Session{{Role: "r", Repositories: r, Client: func(string) API { return client }}}, nil
		},
		Look:    func(context.Context, image.Registry, []Work) (map[string]Looked, error) { return looked, nil },
		Keep:    func(context.Context, image.Registry, []Going) {},
		Present: func(context.Context, image.Repository) (map[image.Digest]bool, error) { return present, nil },
		Held:    func() error { return nil },
		Record: func(_ context.Context, records ...journal.Record) error {
			mu.Lock()
			defer mu.Unlock()
			for i := range records {
				if err := l.Apply(&records[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}, work)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Repositories that somebody else has deleted are no failures.
func TestGoneRepositories(t *testing.T) {
	var inventories []image.Inventory
	for _, name := range []string{"a", "b", "c"} {
		inventories = append(inventories, image.Inventory{Repository: image.Repository{Registry: repo.Registry, Name: name}, Images: []image.Image{img(1)}})
	}
	client := fakeECR(func(in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
		if *in.RepositoryName != "c" {
			return nil, &types.RepositoryNotFoundException{Message: aws.String("gone")}
		}
		return &ecr.BatchDeleteImageOutput{ImageIds: in.ImageIds}, nil
	})
	l := sweepAll(t, client, nil, inventories...)
	if got, _ := l.Get(inventories[2].Repository, dig(1)); got.State != journal.Deleted {
		t.Errorf("nothing has failed (%d failures), and yet: %+v", l.Summary().Failed.Images, got)
	}
}

// The first attempt deletes, and its answer is lost; the second is refused by an error that the SDK does not retry.
func TestLostThenRefused(t *testing.T) {
	for _, code := range []string{"AccessDeniedException", "RepositoryNotFoundException"} {
		n := 0
		ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			if n++; n == 1 {
				w.WriteHeader(http.StatusInternalServerError) // but it was carried out
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type": %q, "message": "no"}`, code)
		}))
		defer ts.Close()
		client := (&Clients{}).In(repo.Registry, aws.Config{Region: repo.Region, BaseEndpoint: &ts.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
		l := sweepAll(t, client, map[image.Digest]bool{}, image.Inventory{Repository: repo, Images: []image.Image{img(1)}})
		if got, _ := l.Get(repo, dig(1)); got.State != journal.Deleted || n != 2 {
			t.Errorf("%s: it is gone, by us, and the books say %+v (%d attempts)", code, got, n)
		}
	}
}

// 2 refers to 1. It is refused, since an index that was pushed after the look holds it: its subject has to stay, since ECR
// removes what refers to it.
func TestRefusedReferrerKeepsSubject(t *testing.T) {
	var sent []image.Digest
	client := fakeECR(func(in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
		out := &ecr.BatchDeleteImageOutput{}
		for _, id := range in.ImageIds {
			sent = append(sent, image.Digest(*id.ImageDigest))
			if *id.ImageDigest == string(dig(2)) {
				out.Failures = append(out.Failures, types.ImageFailure{ImageId: &id, FailureCode: types.ImageFailureCodeImageReferencedByManifestList})
			} else {
				out.ImageIds = append(out.ImageIds, id)
			}
		}
		return out, nil
	})
	l := sweepAll(t, client, nil, image.Inventory{Repository: repo, Images: []image.Image{img(1), img(2, refers(1))}})
	if slices.Contains(sent, dig(1)) {
		a, _ := l.Get(repo, dig(1))
		b, _ := l.Get(repo, dig(2))
		t.Errorf("the subject goes and its referrer stays: %v; %+v; %+v", sent, a, b)
	}
}

// TestLookGrowsOld: ECR throttles, so that the call for one repository takes 20 minutes; meanwhile an image of the next one
// is deployed. It was looked at before, and that is too long ago.
func TestLookGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 24 * time.Hour, AllowEmpty: true}}}
		var work []Work
		for _, name := range []string{"a", "b"} {
			work = append(work, Work{Repository: image.Repository{Registry: repo.Registry, Name: name}, Images: all(img(1))})
		}
		deployed := false
		var gone []string
		client := fakeECR(func(in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
			gone = append(gone, *in.RepositoryName)
			time.Sleep(20 * time.Minute)
			deployed = true
			return &ecr.BatchDeleteImageOutput{ImageIds: in.ImageIds}, nil
		})
		err := Run(t.Context(), Options{
			ReviewedAt: now, Concurrency: 1, MaxFailures: 2, Log: slog.New(slog.DiscardHandler),
			Enter: func(_ context.Context, _ string, r []image.Repository) ([]Session, error) {
				return []Session{{Repositories: r, Client: func(string) API { return client }}}, nil
			},
			Look: func(_ context.Context, _ image.Registry, work []Work) (map[string]Looked, error) {
				looked := map[string]Looked{}
				for _, w := range work {
					var uses []image.Use
					if deployed {
						uses = append(uses, image.Use{Ref: image.Ref{Repository: w.Repository, Digest: dig(1)}})
					}
					looked[w.Name] = Looked{Plan: planner.Merge(rules, now, planner.Usage{Uses: uses}).Repository(&image.Inventory{Repository: w.Repository, Images: []image.Image{img(1)}})}
				}
				return looked, nil
			},
			Keep:   func(context.Context, image.Registry, []Going) {},
			Held:   func() error { return nil },
			Record: func(context.Context, ...journal.Record) error { return nil },
		}, work)
		if err != nil || len(gone) != 1 {
			t.Errorf("deleted from %v: %v", gone, err)
		}
	})
}
