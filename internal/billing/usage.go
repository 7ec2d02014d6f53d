package billing

import "strings"

// regionOfPrefix tells the region that a usage type's prefix stands for. AWS publishes the list as its billing codes; Ireland
// has an old one and a new one, and Virginia's is left out of whatever is older than prefixes are.
//
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-region-billing-codes.html
var regionOfPrefix = map[string]string{
	"AFS1": "af-south-1",
	"APE1": "ap-east-1",
	"APE2": "ap-east-2",
	"APN1": "ap-northeast-1",
	"APN2": "ap-northeast-2",
	"APN3": "ap-northeast-3",
	"APS1": "ap-southeast-1",
	"APS2": "ap-southeast-2",
	"APS3": "ap-south-1",
	"APS4": "ap-southeast-3",
	"APS5": "ap-south-2",
	"APS6": "ap-southeast-4",
	"APS7": "ap-southeast-5",
	"APS8": "ap-southeast-6",
	"APS9": "ap-southeast-7",
	"CAN1": "ca-central-1",
	"CAN2": "ca-west-1",
	"CNN1": "cn-north-1",
	"CNW1": "cn-northwest-1",
	"EU":   "eu-west-1",
	"EUC1": "eu-central-1",
	"EUC2": "eu-central-2",
	"EUN1": "eu-north-1",
	"EUS1": "eu-south-1",
	"EUS2": "eu-south-2",
	"EUW1": "eu-west-1",
	"EUW2": "eu-west-2",
	"EUW3": "eu-west-3",
	"ILC1": "il-central-1",
	"MEC1": "me-central-1",
	"MES1": "me-south-1",
	"MXC1": "mx-central-1",
	"SAE1": "sa-east-1",
	"UGE1": "us-gov-east-1",
	"UGW1": "us-gov-west-1",
	"USE1": "us-east-1",
	"USE2": "us-east-2",
	"USW1": "us-west-1",
	"USW2": "us-west-2",
}

// unprefixed are the names that ECR's usage types begin with. Behind nothing they are of us-east-1.
var unprefixed = []string{"TimedStorage-", "DataTransfer-", "Retrieval-"}

// regionOf is the region that a usage type is of: "APN1-TimedStorage-ByteHrs" is of Tokyo, "TimedStorage-ByteHrs" of
// Virginia. It is "" where neither the prefix nor the name is known.
func regionOf(usageType string) string {
	for _, name := range unprefixed {
		if strings.HasPrefix(usageType, name) {
			return "us-east-1"
		}
	}
	prefix, _, ok := strings.Cut(usageType, "-")
	if !ok {
		return ""
	}
	return regionOfPrefix[prefix]
}

// storage is how a usage type keeps images.
type storage int

const (
	notStorage storage = iota
	standard
	archive
)

func storageOf(usageType string) storage {
	switch {
	case named(usageType, "TimedStorage-ByteHrs"):
		return standard
	case named(usageType, "TimedStorage-Archive-ByteHrs"), named(usageType, "TimedStorage-ArchiveByteHrs"):
		return archive
	}
	return notStorage
}

// named reports whether a usage type has a name, behind a prefix or none.
func named(usageType, name string) bool {
	return usageType == name || strings.HasSuffix(usageType, "-"+name)
}
