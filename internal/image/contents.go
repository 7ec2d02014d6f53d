package image

// Contents is what the images of a repository are stored as: ECR keeps, and bills, each blob of a repository once, however
// many images refer to it.
//
// https://github.com/opencontainers/image-spec/blob/main/manifest.md
type Contents struct {
	Repository Repository `json:"repository"`
	Blobs      []Blob     `json:"blobs"`  // layers and configurations, by digest
	Images     []Content  `json:"images"` // by digest; of images that are missing nothing is known
}

// Blob is a layer or a configuration.
type Blob struct {
	Digest Digest `json:"d"`
	Bytes  int64  `json:"b"` // compressed, as stored
}

// Content is what one image is stored as.
type Content struct {
	Digest   Digest  `json:"d"`
	Manifest int64   `json:"m"`           // bytes of the manifest itself
	Blobs    []int32 `json:"l,omitempty"` // places in Contents.Blobs, rising; none of an index, whose children are images of their own
}
