package orgsim

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCLIFunctions(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v := cliManifests()
	r.push(v["v1"], "latest")
	v["arn"] = "arn:aws:lambda:us-east-1:111111111111:function"
	v["role"] = lambdaRole
	var code bytes.Buffer
	if err := zip.NewWriter(&code).Close(); err != nil {
		t.Fatal(err)
	}
	v["zip"] = "fileb://" + filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(v["zip"][len("fileb://"):], code.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const create = "lambda create-function --role @role --package-type Image --code ImageUri=@app:latest --function-name "
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: create + "fn --query [FunctionArn,PackageType,Version]", want: "@arn:fn\tImage\t$LATEST"},
		{args: create + "fn", want: "error: ResourceConflictException"},
		{args: create + "fn2 --publish --query Version", want: "1"},
		{account: accountB, args: create + "fn", want: "error: AccessDeniedException"},
		{args: "lambda create-function --role @role --function-name zip --runtime python3.12 --handler a.b --zip-file @zip --query PackageType", want: "Zip"},
		{args: "lambda list-functions --page-size 1 --query Functions[].FunctionName", want: "fn\nfn2\nzip"},
		{args: "lambda list-functions --function-version ALL --max-items 3 --query Functions[].FunctionArn", want: "@arn:fn:$LATEST\t@arn:fn2:$LATEST\t@arn:fn2:1\nNone"},
		{args: "lambda publish-version --function-name fn --query [Version,FunctionArn]", want: "1\t@arn:fn:1"},
	})
	r.push(v["v2"], "latest")
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "lambda update-function-code --function-name fn --image-uri @app:latest --query Version", want: "$LATEST"},
		{args: "lambda get-function --function-name fn --query Code.[ImageUri,ResolvedImageUri]", want: "@app:latest\t@app@@d2"},
		{args: "lambda get-function --function-name @arn:fn:1 --query Code.[ImageUri,ResolvedImageUri]", want: "@app:latest\t@app@@d1"},
		{args: "lambda get-function --function-name none", want: "error: ResourceNotFoundException"},
		{args: "lambda get-function-configuration --function-name fn --qualifier 1 --query [Version,State]", want: "1\tActive"},
		{args: "lambda list-versions-by-function --function-name fn --page-size 1 --query Versions[].Version", want: "$LATEST\n1"},
		{args: "lambda create-alias --function-name fn --name live --function-version 1 --query AliasArn", want: "@arn:fn:live"},
		{args: "lambda create-alias --function-name fn --name live --function-version 1", want: "error: ResourceConflictException"},
		{args: "lambda get-alias --function-name fn --name live --query FunctionVersion", want: "1"},
		{args: "lambda get-function --function-name fn --qualifier live --query Code.ResolvedImageUri", want: "@app@@d1"},
		{args: "lambda list-aliases --function-name fn --page-size 1 --query Aliases[].Name", want: "live"},
		{args: "lambda delete-function --function-name fn --qualifier 1", want: "error: ResourceConflictException"},
		{args: "lambda update-alias --function-name fn --name live --function-version $LATEST --query FunctionVersion", want: "$LATEST"},
		{args: "lambda delete-function --function-name fn --qualifier 1", want: "…"},
		{args: "lambda delete-alias --function-name fn --name live", want: ""},
		{args: "lambda get-alias --function-name fn --name live", want: "error: ResourceNotFoundException"},
		{args: "lambda delete-function --function-name fn", want: "…"},
		{args: "lambda delete-function --function-name fn", want: "error: ResourceNotFoundException"},
	})
}
