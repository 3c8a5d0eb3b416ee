"""Checks captured OTLP requests with the official Python protobufs.

Usage: check_otlp.py METRICS TRACES PROFILES, each a file with one request.
Everything expected here was computed by hand from testkit/src/otlp_samples.rs,
not by Observer's own code.
"""

import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

START = 1_700_000_000_000_000_000


def expect(actual, wanted, what):
    """Fails with both values unless they are equal."""
    if actual != wanted:
        sys.exit(f"{what}: got {actual!r}, expected {wanted!r}")


def read(message, path):
    """Decodes a file; nothing may be left that the official schema doesn't know."""
    with open(path, "rb") as file:
        data = file.read()
    message.ParseFromString(data)
    message.DiscardUnknownFields()
    expect(message.ByteSize(), len(data), f"{path}: bytes known to the schema")
    return message


def check_envelope(group, scope_group):
    """Schema URL, scope and resource are there."""
    if not group.schema_url.startswith("https://opentelemetry.io/schemas/"):
        sys.exit(f"schema_url is {group.schema_url!r}")
    expect(scope_group.scope.name, "observer", "scope")
    keys = [attribute.key for attribute in group.resource.attributes]
    expect(len(keys), len(set(keys)), "resource attributes are unique")
    if "service.name" not in keys:
        sys.exit("a resource without service.name")


def check_metrics(request):
    """Sums, gauges, and histograms whose buckets add up."""
    (group,) = request.resource_metrics
    check_envelope(group, group.scope_metrics[0])
    metrics = {metric.name: metric for metric in group.scope_metrics[0].metrics}
    expect(sorted(metrics), ["test.calls", "test.duration", "test.load"], "names")

    calls = metrics["test.calls"]
    expect(calls.unit, "{call}", "unit")
    expect(calls.sum.is_monotonic, True, "monotonic")
    expect(calls.sum.aggregation_temporality, 2, "temporality")
    points = calls.sum.data_points
    expect([p.as_int for p in points], [5, 5, 5], "values")
    expect([p.attributes[0].value.int_value for p in points], [0, 1, 2], "series")
    for point in points:
        expect(point.start_time_unix_nano, START, "start")
        expect(point.time_unix_nano, START + 1000, "time")
    expect(metrics["test.load"].gauge.data_points[0].as_double, 0.5, "gauge")

    histogram = metrics["test.duration"].exponential_histogram
    expect(histogram.aggregation_temporality, 2, "temporality")
    (point,) = histogram.data_points
    buckets = list(point.positive.bucket_counts)
    expect(point.count, sum(buckets) + point.zero_count, "count and buckets")
    expect(point.count, 14, "count")
    expect(point.scale, 3, "scale")
    expect(point.sum, 0.25, "sum")
    # By absolute index, whatever was trimmed.
    counts = {point.positive.offset + i: n for i, n in enumerate(buckets) if n}
    expect(counts, {-158: 5, -156: 7, -155: 1}, "buckets")


def check_traces(request):
    """Ids of the right length and not zero, times, events, status."""
    (group,) = request.resource_spans
    check_envelope(group, group.scope_spans[0])
    spans = group.scope_spans[0].spans
    expect([span.name for span in spans], [f"span {i}" for i in range(4)], "names")
    for i, span in enumerate(spans):
        expect(len(span.trace_id), 16, "trace id")
        expect(len(span.span_id), 8, "span id")
        expect(int.from_bytes(span.trace_id, "big"), i + 1, "trace id")
        expect(int.from_bytes(span.span_id, "big"), i + 1, "span id")
        expect(span.parent_span_id, b"" if i % 2 == 0 else b"\x09" * 8, "parent")
        expect(span.kind, 3, "kind client")
        expect(span.end_time_unix_nano - span.start_time_unix_nano, 1000, "duration")
        expect(span.status.code, 2, "status")
        expect(span.status.message, "ECONNRESET", "status")
        expect(span.dropped_events_count, 2, "dropped events")
        (event,) = span.events
        expect(event.name, "tcp.retransmit", "event")
        expect(event.time_unix_nano, START + i + 10, "event time")


def check_indices(dictionary, request):
    """Every index points into its table; entry 0 is the zero value."""
    tables = {
        name: getattr(dictionary, name)
        for name in (
            "mapping_table",
            "location_table",
            "function_table",
            "link_table",
            "attribute_table",
            "stack_table",
        )
    }
    expect(dictionary.string_table[0], "", "string_table[0]")
    for name, table in tables.items():
        expect(table[0].ByteSize(), 0, f"{name}[0] is the zero value")

    used = {name: {0} for name in (*tables, "string_table")}

    def point(name, index):
        size = len(getattr(dictionary, name))
        if not 0 <= index < size:
            sys.exit(f"index {index} into {name} of {size}")
        used[name].add(index)

    for mapping in dictionary.mapping_table:
        point("string_table", mapping.filename_strindex)
        for index in mapping.attribute_indices:
            point("attribute_table", index)
    for location in dictionary.location_table:
        point("mapping_table", location.mapping_index)
        for line in location.lines:
            point("function_table", line.function_index)
        for index in location.attribute_indices:
            point("attribute_table", index)
    for function in dictionary.function_table:
        point("string_table", function.name_strindex)
        point("string_table", function.system_name_strindex)
        point("string_table", function.filename_strindex)
    for attribute in dictionary.attribute_table:
        point("string_table", attribute.key_strindex)
        point("string_table", attribute.unit_strindex)
    for stack in dictionary.stack_table:
        for index in stack.location_indices:
            point("location_table", index)
    for group in request.resource_profiles:
        for profile in group.scope_profiles[0].profiles:
            for kind in (profile.sample_type, profile.period_type):
                point("string_table", kind.type_strindex)
                point("string_table", kind.unit_strindex)
            for sample in profile.samples:
                point("stack_table", sample.stack_index)
                point("link_table", sample.link_index)
                for index in sample.attribute_indices:
                    point("attribute_table", index)
    for name, indices in used.items():
        expect(len(indices), len(getattr(dictionary, name)), f"no orphans in {name}")


def check_profiles(request):
    """The dictionary's rules, and each sample resolved to names."""
    dictionary = request.dictionary
    check_indices(dictionary, request)
    strings = dictionary.string_table
    expect(len(strings), len(set(strings)), "no duplicate strings")

    def attributes(indices):
        result = {}
        for index in indices:
            entry = dictionary.attribute_table[index]
            key = strings[entry.key_strindex]
            if key in result:
                sys.exit(f"attribute {key} twice")
            value = getattr(entry.value, entry.value.WhichOneof("value"))
            if hasattr(value, "values"):
                value = [item.string_value for item in value.values]
            result[key] = value
        return result

    def frame(index):
        location = dictionary.location_table[index]
        names = [
            strings[dictionary.function_table[line.function_index].name_strindex]
            for line in location.lines
        ]
        return names, attributes(location.attribute_indices)["profile.frame.type"]

    found = []
    for group in request.resource_profiles:
        check_envelope(group, group.scope_profiles[0])
        service = {a.key: a.value.string_value for a in group.resource.attributes}
        (profile,) = group.scope_profiles[0].profiles
        types = (profile.sample_type, profile.period_type)
        names = [(strings[t.type_strindex], strings[t.unit_strindex]) for t in types]
        expect(names, [("samples", "count"), ("cpu", "nanoseconds")], "types")
        expect(profile.period, 20_408_163, "period")
        expect(profile.time_unix_nano, START, "time")
        expect(profile.duration_nano, 10_000_000_000, "duration")
        expect(len(profile.profile_id), 16, "profile id")
        for sample in profile.samples:
            wanted = {
                "thread.id": 101,
                "thread.name": "worker",
                "process.pid": 100,
                "process.executable.name": "app",
                "process.command_args": ["app", "--port", "80"],
            }
            expect(attributes(sample.attribute_indices), wanted, "sample attributes")
            link = dictionary.link_table[sample.link_index]
            stack = dictionary.stack_table[sample.stack_index].location_indices
            found.append(
                (
                    service["service.name"],
                    list(sample.values),
                    [frame(index) for index in stack],
                    (link.trace_id, link.span_id),
                )
            )
    native = (["inner", "main"], "native")
    kernel = (["do_syscall"], "kernel")
    none = (b"", b"")
    wanted = [
        ("first", [3], [kernel, native], none),
        ("first", [5], [native], none),
        ("second", [4], [native], (b"\x07" * 16, b"\x08" * 8)),
    ]
    expect(found, wanted, "samples")

    mappings = [
        (strings[m.filename_strindex], attributes(m.attribute_indices))
        for m in dictionary.mapping_table[1:]
    ]
    wanted = [
        ("/usr/bin/app", {"process.executable.build_id.gnu": "deadbeef01"}),
        ("[kernel.kallsyms]", {}),
    ]
    expect(sorted(mappings), wanted, "mappings")


def main():
    """Reads and checks the three files."""
    metrics, traces, profiles = sys.argv[1:]
    check_metrics(read(ExportMetricsServiceRequest(), metrics))
    check_traces(read(ExportTraceServiceRequest(), traces))
    check_profiles(read(ExportProfilesServiceRequest(), profiles))


main()
