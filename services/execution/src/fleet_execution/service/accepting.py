"""An administrator takes a venue's word for what comparing with it could not mend."""

from fleet_execution.domain import Canceled
from fleet_execution.domain.accepting import NOT_AT_VENUE, word_of
from fleet_execution.domain.reconciliation import Cause, Reconciliation
from fleet_execution.ports import ComparingUnitOfWork, Told

from .learning import learn
from .reconciling import begin


async def accept(uow: ComparingUnitOfWork, named: Reconciliation) -> Reconciliation:
    """Makes our side follow, and asks the venue anew: the doubt ends when that finds nothing. Raises NotAccepted.

    The venues are locked already, so that no answer comes in between."""
    venue, symbol = named.venue, named.symbol
    last = await uow.last_ended(venue, symbol)
    word = word_of(named, last)
    await uow.lock([str(ref) for ref in word.orders])
    told: list[Told] = []
    for ref in word.orders:
        order = uow.find(ref)
        if order is not None:
            detail = "the venue does not have it, and an administrator has taken its word"
            fact = Canceled(uow.now, NOT_AT_VENUE, detail, order.cumulative_quantity)
            told += await learn(uow, order, fact, market_at=uow.now)
    uow.publish(told, market_at=uow.now)
    for account_id, more in word.positions:
        uow.hold(venue, symbol, account_id, more)
    uow.settle(word.fills)
    accepted = named.accepted()
    uow.keep_reconciliation(accepted)
    if last is not None and last.reconciliation_id != named.reconciliation_id:
        uow.keep_reconciliation(last.accepted())
    state = await uow.venue_state(venue)
    if state is not None and state.is_connected:
        # Of one that is away what it says when it is back begins the next.
        if (asked := await uow.asked(venue, symbol)) is not None:
            uow.keep_reconciliation(asked.unanswered(now=uow.now))
        await begin(uow, venue, symbol, Cause.DOUBT)
    return accepted
