package orgsim

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// addLambdaMappingOps are event source mappings, which read nothing from their sources.
func addLambdaMappingOps(s *service) {
	op(s, "CreateEventSourceMapping", func(c *Call, in *lambda.CreateEventSourceMappingInput) (*lambda.CreateEventSourceMappingOutput, error) {
		f, ref, err := c.function(in.FunctionName, nil)
		if err != nil {
			return nil, err
		}
		if f.version(ref.qualifier) == nil {
			return nil, errFunctionNotFound(ref.arn(c))
		}
		l := &c.home().lambda
		id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", len(l.mappings.items)+1)
		m := types.EventSourceMappingConfiguration{UUID: &id, FunctionArn: new(ref.arn(c)), EventSourceArn: in.EventSourceArn, State: new("Enabled"), LastModified: new(c.Now),
			EventSourceMappingArn: new(c.arn("lambda", "event-source-mapping:"+id))}
		if in.Enabled != nil && !*in.Enabled {
			m.State = new("Disabled")
		}
		l.mappings.put(id, m)
		return mappingAs[lambda.CreateEventSourceMappingOutput](m), nil
	}, route("POST", "/2015-03-31/event-source-mappings", 202))
	op(s, "DeleteEventSourceMapping", func(c *Call, in *lambda.DeleteEventSourceMappingInput) (*lambda.DeleteEventSourceMappingOutput, error) {
		m, ok := c.home().lambda.mappings.get(aws.ToString(in.UUID))
		if !ok {
			return nil, &apiError{Code: "ResourceNotFoundException", Message: "The resource you requested does not exist.", Status: 404}
		}
		c.home().lambda.mappings.drop(*in.UUID)
		return mappingAs[lambda.DeleteEventSourceMappingOutput](m), nil
	}, route("DELETE", "/2015-03-31/event-source-mappings/{UUID}", 202))
	op(s, "ListEventSourceMappings", func(c *Call, in *lambda.ListEventSourceMappingsInput) (*lambda.ListEventSourceMappingsOutput, error) {
		list, next, err := page(c.home().lambda.mappings.all(), in.MaxItems, 100, 100, in.Marker)
		return &lambda.ListEventSourceMappingsOutput{EventSourceMappings: list, NextMarker: next}, err
	}, route("GET", "/2015-03-31/event-source-mappings", 200, "Marker", "MaxItems", "FunctionName", "EventSourceArn"))
}
