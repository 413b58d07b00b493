"""`python -m fleet_gateway`"""

from fleet_chassis.server import serve

from .app import create_app
from .http_protocol import HttpProtocol
from .settings import GatewaySettings
from .sockets.protocol import SocketProtocol
from .tls import tls_options

# A frame is taken up to the largest body; the application judges messages by its own, smaller limit.
serve(
    create_app,
    GatewaySettings,
    http=HttpProtocol,
    ws=SocketProtocol,
    ws_max_size=1_048_576,
    ws_per_message_deflate=False,
    **tls_options(GatewaySettings()),  # type: ignore[call-arg]  # filled from the environment
)
