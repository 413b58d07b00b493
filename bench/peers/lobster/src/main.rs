//! The workload of bench/book.py through lobster's order book: one line of JSON, as `fleet bench book` prints it.

use lobster::{OrderBook, OrderEvent, OrderType, Side};
use std::{env, fs, time::Instant};

/// Processor time of this thread, the only one.
fn cpu_ns() -> u64 {
    let line = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    line.split(' ').next().unwrap().parse().unwrap()
}

fn main() {
    let bytes = fs::read(env::args().nth(1).expect("usage: lobster-book FILE")).expect("a readable file");
    let cells: Vec<i64> = bytes.chunks_exact(8).map(|cell| i64::from_le_bytes(cell.try_into().unwrap())).collect();
    let mut book = OrderBook::new(1 << 20, 16, false);
    let (mut fills, mut volume, mut notional, mut added, mut gone) = (0u64, 0u64, 0u64, 0i64, 0i64);
    let (began, cpu_began) = (Instant::now(), cpu_ns());
    for row in cells.chunks_exact(5) {
        let (id, price, qty) = (row[1] as u128, row[3] as u64, row[4] as u64);
        let side = if row[2] == 0 { Side::Bid } else { Side::Ask };
        match row[0] {
            1 => {
                book.execute(OrderType::Cancel { id });
                gone += 1;
            }
            op => match book.execute(OrderType::Limit { id, side, qty, price }) {
                OrderEvent::Filled { fills: found, .. } | OrderEvent::PartiallyFilled { fills: found, .. } => {
                    assert_eq!(op, 2, "an add has met the other side");
                    for fill in found {
                        fills += 1;
                        volume += fill.qty;
                        notional += fill.qty * fill.price;
                        gone += i64::from(fill.total_fill);
                    }
                }
                _ => added += 1,
            },
        }
    }
    let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), (cpu_ns() - cpu_began) as f64 / 1e9);
    let ops = cells.len() / 5;
    println!(
        "{{\"engine\": \"lobster\", \"ops\": {ops}, \"fills\": {fills}, \"volume\": {volume}, \"notional\": {notional}, \
         \"best_bid\": {}, \"best_ask\": {}, \"live\": {}, \"seconds\": {seconds}, \"cpu_seconds\": {cpu_seconds}, \
         \"ops_per_cpu_second\": {:.0}}}",
        book.max_bid().unwrap_or(0),
        book.min_ask().unwrap_or(0),
        added - gone,
        ops as f64 / cpu_seconds
    );
}
