"""Before a command or a worker begins: a broker answers, takes our credentials, and grants every right that is needed."""

from collections.abc import Iterable

from app.cli.errors import NoBrokerError, require_broker
from app.settings import Settings
from app.streams.publish import BrokerUnreachableError
from app.streams.rights import Need, check_access


async def require_access(settings: Settings, needs: Iterable[Need] = ()) -> None:
    """Wait until a broker answers, then sign in and ask for the rights.

    Raises `NoBrokerError` after a bounded time, and `AccessError` at once, with a sentence for each thing that is refused.
    """
    await require_broker(settings.bootstrap_servers)
    try:
        await check_access(settings, needs)
    except BrokerUnreachableError as error:
        raise NoBrokerError(str(error)) from None
