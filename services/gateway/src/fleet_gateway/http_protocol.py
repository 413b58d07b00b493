"""uvicorn's HTTP protocol, but that what is no HTTP is answered with a problem too: such bytes reach no application."""

from fleet_chassis.ids import new_id
from fleet_chassis.problems import Problem, problem_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=HttpProtocol)`."""

    def send_400_response(self, msg: str) -> None:
        request_id = str(new_id())
        body = problem_json(Problem(400, "bad_request", msg), instance="", request_id=request_id)
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
