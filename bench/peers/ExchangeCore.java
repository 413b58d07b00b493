import com.sun.management.OperatingSystemMXBean;
import exchange.core2.collections.objpool.ObjectsPool;
import exchange.core2.core.common.CoreSymbolSpecification;
import exchange.core2.core.common.MatcherTradeEvent;
import exchange.core2.core.common.OrderAction;
import exchange.core2.core.common.OrderType;
import exchange.core2.core.common.SymbolType;
import exchange.core2.core.common.cmd.OrderCommand;
import exchange.core2.core.common.config.LoggingConfiguration;
import exchange.core2.core.orderbook.OrderBookDirectImpl;
import exchange.core2.core.orderbook.OrderBookEventsHelper;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

/** The workload of bench/book.py through exchange-core's fast order book: one line of JSON, of the fourth replay (warm). */
public final class ExchangeCore {

    public static void main(String[] arguments) throws Exception {
        LongBuffer cells = ByteBuffer.wrap(Files.readAllBytes(Path.of(arguments[0])))
            .order(ByteOrder.LITTLE_ENDIAN).asLongBuffer();
        for (int warming = 0; warming < 3; warming++) {
            replay(cells);
        }
        System.out.println(replay(cells));
    }

    private static String replay(LongBuffer cells) {
        var symbol = CoreSymbolSpecification.builder()
            .symbolId(1).type(SymbolType.CURRENCY_EXCHANGE_PAIR).baseCurrency(1).quoteCurrency(2)
            .baseScaleK(1).quoteScaleK(1).takerFee(0).makerFee(0).build();
        var book = new OrderBookDirectImpl(symbol, ObjectsPool.createDefaultTestPool(),
            OrderBookEventsHelper.NON_POOLED_EVENTS_HELPER, LoggingConfiguration.DEFAULT);
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long fills = 0, volume = 0, notional = 0;
        int ops = cells.capacity() / 5;
        long began = System.nanoTime(), cpuBegan = system.getProcessCpuTime();
        for (int row = 0; row < ops; row++) {
            long id = cells.get(row * 5 + 1), price = cells.get(row * 5 + 3), size = cells.get(row * 5 + 4);
            if (cells.get(row * 5) == 1) {
                book.cancelOrder(OrderCommand.cancel(id, 1));
                continue;
            }
            var action = cells.get(row * 5 + 2) == 0 ? OrderAction.BID : OrderAction.ASK;
            var type = cells.get(row * 5) == 2 ? OrderType.IOC : OrderType.GTC;
            var command = OrderCommand.newOrder(type, id, 1, price, price, size, action);
            book.newOrder(command);
            for (MatcherTradeEvent event = command.matcherEvent; event != null; event = event.nextEvent) {
                fills++;
                volume += event.size;
                notional += event.size * event.price;
            }
        }
        double cpu = (system.getProcessCpuTime() - cpuBegan) / 1e9, seconds = (System.nanoTime() - began) / 1e9;
        var top = book.getL2MarketDataSnapshot(1);
        int live = book.getOrdersNum(OrderAction.BID) + book.getOrdersNum(OrderAction.ASK);
        return String.format("{\"engine\": \"exchange-core\", \"ops\": %d, \"fills\": %d, \"volume\": %d, \"notional\": %d, "
            + "\"best_bid\": %d, \"best_ask\": %d, \"live\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
            + "\"ops_per_cpu_second\": %.0f}", ops, fills, volume, notional, top.bidPrices[0], top.askPrices[0], live,
            seconds, cpu, ops / cpu);
    }
}
