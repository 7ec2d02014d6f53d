package orgsim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
)

// mebibyte is the unit of the demo's layer sizes.
const mebibyte = 1 << 20

// demoBases are the base images of the demo: sizes of their layers in MB, as they are pulled. A base is rebuilt
// every 4 weeks, and then its layers are others.
var demoBases = map[string][]int{
	"static": {2, 19},
	"node":   {30, 45, 168},
	"jvm":    {30, 12, 188},
	"python": {30, 25, 162, 48},
	"dotnet": {30, 74, 118},
	"lambda": {112, 34},
	"cuda":   {30, 142, 985, 2610},
}

const demoBaseLife = 28 // days

// demoManifest is a manifest as it is pushed.
type demoManifest struct {
	text, media, digest string
	size                int // of the manifest itself
}

func newDemoManifest(text []byte, media string) *demoManifest {
	return &demoManifest{text: string(text), media: media, digest: sha256Of(string(text)), size: len(text)}
}

func sha256Of(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// manifest makes the manifest of a push; made are those of the repository's earlier pushes, by name.
func (r *DemoRepository) manifest(p *DemoPush, made map[string]*demoManifest) *demoManifest {
	switch p.Kind {
	case demoKindImage:
		return r.imageManifest(p)
	case demoKindIndex:
		return r.indexManifest(p, made)
	default:
		return r.artifactManifest(p, made)
	}
}

// imageManifest shares layers as builds do: those of the base with everything that is made from it, dependencies
// with a few builds of the same project in any repository, and only the last layer is the build's own.
func (r *DemoRepository) imageManifest(p *DemoPush) *demoManifest {
	manifest, config, layer := mediaOCIManifest, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
	if r.Docker {
		manifest, config, layer = mediaDockerManifest, "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	b := make([]byte, 0, 1536)
	b = fmt.Appendf(b, `{"schemaVersion":2,"mediaType":%q,"config":`, manifest)
	b = descriptor(b, config, r.Key()+"/config/"+p.Name, 4096+int64(7000*demoRandom(r.Name, p.Build)))
	b = append(b, `,"layers":[`...)
	generation := int(p.Age.Hours()/24) / demoBaseLife
	for i, mb := range demoBases[r.Base] {
		if i > 0 {
			b = append(b, ',')
		}
		id := "base/" + r.Base + "/" + strconv.Itoa(generation) + "/" + strconv.Itoa(i) + "/" + p.Arch
		b = descriptor(b, layer, id, demoSize(mb, id, generation))
	}
	project := path.Base(r.Name)
	for _, own := range []struct {
		id string
		n  int
		mb int
	}{
		{"deps/" + project + "/" + strconv.Itoa(p.Build/6) + "/" + p.Arch, p.Build / 6, r.Deps},
		{"app/" + r.Key() + "/" + p.Name, p.Build, r.App},
	} {
		b = append(b, ',')
		b = descriptor(b, layer, own.id, demoSize(own.mb, own.id, own.n))
	}
	b = append(b, `]}`...)
	return newDemoManifest(b, manifest)
}

// demoSize is about a number of MB: software grows and shrinks.
func demoSize(mb int, id string, n int) int64 {
	return int64(float64(mb) * mebibyte * (0.9 + 0.2*demoRandom(id, n)))
}

// descriptor appends one of something whose digest is made of an id.
func descriptor(b []byte, media, id string, size int64) []byte {
	sum := sha256.Sum256([]byte(id))
	b = append(b, `{"mediaType":"`...)
	b = append(b, media...)
	b = append(b, `","digest":"sha256:`...)
	b = hex.AppendEncode(b, sum[:])
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, size, 10)
	return append(b, '}')
}

// indexManifest is an index as BuildKit writes it: attestations say in annotations which image they are about.
func (r *DemoRepository) indexManifest(p *DemoPush, made map[string]*demoManifest) *demoManifest {
	media := mediaOCIIndex
	if r.Docker {
		media = mediaDockerList
	}
	b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, media)
	for i, name := range p.Children {
		if i > 0 {
			b = append(b, ',')
		}
		child := made[name]
		b = fmt.Appendf(b, `{"mediaType":%q,"digest":%q,"size":%d`, child.media, child.digest, child.size)
		if of, ok := made[path.Dir(name)]; ok && path.Base(name) == demoKindAttestation {
			b = fmt.Appendf(b, `,"platform":{"architecture":"unknown","os":"unknown"},"annotations":{"vnd.docker.reference.digest":%q,"vnd.docker.reference.type":"attestation-manifest"}`, of.digest)
		} else if arch := path.Base(name); arch == "windows" {
			b = append(b, `,"platform":{"architecture":"amd64","os":"windows","os.version":"10.0.20348.2402"}`...)
		} else if arch != "linux" {
			b = fmt.Appendf(b, `,"platform":{"architecture":%q,"os":"linux"}`, arch)
		}
		b = append(b, '}')
	}
	b = append(b, `]}`...)
	return newDemoManifest(b, media)
}

// artifactManifest is an attestation of BuildKit, a signature of cosign, or one with an OCI subject.
func (r *DemoRepository) artifactManifest(p *DemoPush, made map[string]*demoManifest) *demoManifest {
	id := r.Key() + "/" + p.Name
	b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,`, mediaOCIManifest)
	config, layer, size := "application/vnd.oci.image.config.v1+json", "application/vnd.in-toto+json", 9000+int64(4000*demoRandom(r.Name, p.Build))
	switch p.Kind {
	case demoCosign:
		layer, size = "application/vnd.dev.cosign.simplesigning.v1+json", 247
	case demoReferrer:
		config, layer, size = "application/vnd.oci.empty.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json", 5120
		b = append(b, `"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",`...)
	}
	b = append(b, `"config":`...)
	b = descriptor(b, config, id+"/config", 233)
	b = append(b, `,"layers":[`...)
	b = descriptor(b, layer, id+"/layer", size)
	b = append(b, ']')
	if p.Kind == demoReferrer {
		subject := made[p.Subject]
		b = fmt.Appendf(b, `,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, subject.media, subject.digest, subject.size)
	}
	b = append(b, '}')
	return newDemoManifest(b, mediaOCIManifest)
}
