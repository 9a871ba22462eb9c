//! Lines of a web server's access log in the combined format, as a busy site writes them: the same for a seed.
//!
//! Clients, pages and programs are as uneven as those of real sites: a few of them make most of the requests. What a file's size and a page's
//! status are is told by the page, as a server tells it, so that a compressor finds in these lines what it finds in real ones and no more.

use std::io::Write as _;

use crate::random::Random;

/// How many clients there are, how many pages, and how many files that pages need.
const CLIENTS: u64 = 40_000;
const PAGES: u64 = 6_000;
const ASSETS: u64 = 400;

/// The mean number of requests in a second.
const REQUESTS_PER_SEC: u64 = 450;

/// Programs of clients, the most frequent first.
const AGENTS: [&str; 12] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "okhttp/5.1.0",
    "curl/8.14.1",
    "python-requests/2.32.5",
];

/// The parts of the site, and what their pages are called.
const SECTIONS: [&str; 10] = [
    "products",
    "category",
    "articles",
    "help",
    "account/orders",
    "search",
    "api/v2/items",
    "api/v2/cart",
    "reviews",
    "stores",
];
const WORDS: [&str; 24] = [
    "winter", "summer", "garden", "kitchen", "travel", "compact", "classic", "wooden", "steel", "light",
    "lamp", "chair", "table", "bag", "jacket", "shoes", "camera", "phone", "guide", "returns", "delivery",
    "payment", "gift", "outlet",
];

/// What pages need besides.
const ASSET_KINDS: [(&str, u64); 4] = [
    ("js", 180_000),
    ("css", 60_000),
    ("webp", 90_000),
    ("woff2", 40_000),
];

/// An endless log.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    random: Random,
    /// Seconds since its first day began, and how many requests are left in this one.
    secs: u64,
    left: u64,
}

impl AccessLog {
    /// The log of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            secs: 0,
            left: 0,
        }
    }

    /// Appends the next line.
    pub(crate) fn push_line(&mut self, out: &mut Vec<u8>) {
        while self.left == 0 {
            self.secs += 1;
            self.left = self.random.below(2 * REQUESTS_PER_SEC);
        }
        self.left -= 1;
        let client = self.popular(CLIENTS);
        // What a client always has: its address and its program.
        let mut fixed = Random::new(client);
        let address = fixed.bits();
        let agent = AGENTS[fixed.log_uniform(1, AGENTS.len() as u64) as usize - 1];
        let (day, time) = (1 + self.secs / 86_400 % 28, self.secs % 86_400);
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "{}.{}.{}.{} - - [{day:02}/Nov/2026:{:02}:{:02}:{:02} +0000] \"",
            address & 0x7f | 0x40,
            address >> 8 & 0xff,
            address >> 16 & 0xff,
            address >> 24 & 0xff,
            time / 3600,
            time / 60 % 60,
            time % 60
        );
        let referrer = self.popular(PAGES);
        if self.random.below(100) < 55 {
            self.push_asset(out);
        } else {
            self.push_page(out);
        }
        out.extend_from_slice(b" \"https://www.example.com");
        push_path(out, referrer);
        let _ = writeln!(out, "\" \"{agent}\"");
    }

    fn push_asset(&mut self, out: &mut Vec<u8>) {
        let asset = self.popular(ASSETS);
        let fixed = Random::new(asset ^ 0xa55e7).bits();
        let (kind, size_max) = ASSET_KINDS[fixed as usize % ASSET_KINDS.len()];
        let word = WORDS[(fixed >> 8) as usize % WORDS.len()];
        let _ = write!(out, "GET /static/{word}-{:08x}.{kind} HTTP/2.0\" ", fixed >> 32);
        // A client that has it asks whether it is still the same.
        let _ = if self.random.below(4) == 0 {
            write!(out, "304 0")
        } else {
            write!(out, "200 {}", 500 + (fixed >> 16) % size_max)
        };
    }

    fn push_page(&mut self, out: &mut Vec<u8>) {
        let page = self.popular(PAGES);
        let roll = self.random.below(1_000);
        let method = if roll.is_multiple_of(12) { "POST" } else { "GET" };
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        push_path(out, page);
        if roll < 150 {
            let _ = write!(out, "?page={}&sort=price", 1 + self.popular(40));
        } else if roll < 250 {
            let _ = write!(out, "?session={:012x}", self.random.bits() >> 16);
        }
        let status = match roll {
            0..900 => 200,
            900..950 => 302,
            950..990 => 404,
            990..997 => 403,
            _ => 500,
        };
        // Pages are made for each visitor, and differ in length.
        let size = 2_000 + self.random.below(48_000);
        let _ = write!(out, " HTTP/2.0\" {status} {size}");
    }

    /// One of so many, the lower the more often: as in a power law, each power of two is as likely as the others.
    fn popular(&mut self, count: u64) -> u64 {
        self.random.log_uniform(1, count)
    }
}

/// The path of a page.
fn push_path(out: &mut Vec<u8>, page: u64) {
    let fixed = Random::new(page).bits();
    let section = SECTIONS[fixed as usize % SECTIONS.len()];
    let word = |shift: u32| WORDS[(fixed >> shift) as usize % WORDS.len()];
    // Writing to a vector cannot fail.
    let _ = write!(out, "/{section}/{}-{}-{page}", word(16), word(32));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lines_are_of_the_combined_format_differ_and_come_again_for_the_same_seed() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let (mut log, mut again) = (AccessLog::new(7), AccessLog::new(7));
        for _ in 0..1_000 {
            log.push_line(&mut one);
            again.push_line(&mut other);
        }
        assert!(one == other);
        let text = String::from_utf8(one).unwrap();
        let lines: HashSet<_> = text.lines().collect();
        assert!(lines.len() > 990, "{} of 1000 lines differ", lines.len());
        for line in lines {
            let quoted: Vec<_> = line.split('"').collect();
            assert_eq!(quoted.len(), 7, "{line}");
            let mut numbers = quoted[2].split_whitespace();
            let status: u16 = numbers.next().unwrap().parse().unwrap();
            assert!((200..=500).contains(&status));
            assert!(numbers.next().unwrap().parse::<u64>().is_ok());
        }
        let agents: HashSet<_> = text.lines().filter_map(|line| line.rsplit('"').nth(1)).collect();
        assert!(agents.len() > 6, "{agents:?}");
    }
}
