# gRPC by grpcio. rpc.py serve prints its port. rpc.py call PORT calls Ok, Miss and Fail,
# which end with OK, NOT_FOUND and INTERNAL, over one channel and prints "ready"; at a
# line on its standard input it calls them again, 24, 12 and 12 times, and Late, which
# ends with OUT_OF_RANGE, 6 times; then prints how often each ended how.
import collections
import sys
from concurrent import futures

import grpc

ENDS = {
    "Ok": grpc.StatusCode.OK,
    "Miss": grpc.StatusCode.NOT_FOUND,
    "Fail": grpc.StatusCode.INTERNAL,
    "Late": grpc.StatusCode.OUT_OF_RANGE,
}
AGAIN = {"Ok": 24, "Miss": 12, "Fail": 12, "Late": 6}


def handler(end):
    def answer(request, context):
        if end is not grpc.StatusCode.OK:
            context.abort(end, "as it was asked for")
        return request

    return grpc.unary_unary_rpc_method_handler(answer)


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(2))
    methods = {name: handler(end) for name, end in ENDS.items()}
    handlers = grpc.method_handlers_generic_handler("demo.Greeter", methods)
    server.add_generic_rpc_handlers((handlers,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        pass


def call(port):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    ended = collections.Counter()

    def once(name):
        try:
            channel.unary_unary(f"/demo.Greeter/{name}")(b"hello")
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
        ended[f"{name} {code.name}"] += 1

    for _ in range(3):
        for name in ("Ok", "Miss", "Fail"):
            once(name)
    ended.clear()
    print("ready", flush=True)
    sys.stdin.readline()
    for left in range(24):
        for name, times in AGAIN.items():
            if left < times:
                once(name)
    print(dict(ended), flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2])
