//! The words of the command line.

use core::fmt;
use core::net::Ipv4Addr;
use corey_libos_net::Addressing;

/// Words that others read.
const OTHERS: [&str; 6] = ["init", "pti", "log", "lost", "results", "heap"];

/// What is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The first card's address.
    addressing: Addressing,
    /// Cores that serve; `None`: one for each card, as far as there are cores.
    cores: Option<usize>,
    /// Whether each card has a kernel core.
    pub(crate) kernel: bool,
    /// Microseconds between reports; `None`: there are none.
    pub(crate) report: Option<u64>,
}

/// Why a word is refused; its text says what is valid.
pub(crate) enum BadWord<'a> {
    Address(&'a str),
    Cores(&'a str),
    Kernel(&'a str),
    Report(&'a str),
    Unknown(&'a str),
    /// More cores than can serve: asked, cards, processors.
    TooManyCores(usize, usize, usize),
}

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address(word) => write!(
                f,
                "ip={word}: wanted ip=dhcp or ip=ADDRESS/LEN[,GATEWAY], as in ip=10.0.2.15/24,10.0.2.2"
            ),
            Self::Cores(word) => write!(f, "cores={word}: wanted how many cores serve, as in cores=2"),
            Self::Kernel(word) => write!(f, "kernel={word}: wanted kernel=on or kernel=off"),
            Self::Report(word) => {
                write!(f, "report={word}: wanted seconds between reports, 1 to 3600, as in report=10")
            }
            Self::Unknown(word) => {
                write!(f, "{word}: unknown word; valid: ip cores kernel report")?;
                OTHERS.iter().try_for_each(|word| write!(f, " {word}"))?;
                f.write_str(", each as key=value")
            }
            Self::TooManyCores(_, _, 0) => f.write_str(
                "kernel=on: a card needs two cores, one of them the kernel's; give the machine more",
            ),
            Self::TooManyCores(asked, cards, processors) => {
                let most = cards.min(processors);
                write!(
                    f,
                    "cores={asked}: valid: 1 to {most}; here are {cards} network cards and {processors} free cores, \
                     and a card is one core's"
                )
            }
        }
    }
}

impl Wanted {
    /// What `words` say: addresses by DHCP and a core for each card, where they say nothing else.
    ///
    /// # Errors
    ///
    /// The first word that means nothing.
    pub(crate) fn parse(words: &str) -> Result<Self, BadWord<'_>> {
        let mut wanted = Self { addressing: Addressing::Dhcp, cores: None, kernel: false, report: None };
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some(("ip", value)) => {
                    wanted.addressing = addressing(value).ok_or(BadWord::Address(value))?;
                }
                Some(("cores", value)) => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    wanted.cores = Some(count.ok_or(BadWord::Cores(value))?);
                }
                Some(("kernel", "on")) => wanted.kernel = true,
                Some(("kernel", "off")) => wanted.kernel = false,
                Some(("kernel", value)) => return Err(BadWord::Kernel(value)),
                Some(("report", value)) => {
                    let seconds: Option<u64> = value.parse().ok();
                    let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
                    wanted.report = Some(seconds.ok_or(BadWord::Report(value))? * 1_000_000);
                }
                Some((key, _)) if OTHERS.contains(&key) => {}
                _ => return Err(BadWord::Unknown(word)),
            }
        }
        Ok(wanted)
    }

    /// How many cores serve so many cards, where so many processors are free.
    ///
    /// # Errors
    ///
    /// When more are asked for than can serve.
    pub(crate) fn cores(self, cards: usize, processors: usize) -> Result<usize, BadWord<'static>> {
        let most = cards.min(processors);
        match self.cores {
            None if most == 0 => Err(BadWord::TooManyCores(0, cards, processors)),
            Some(asked) if asked > most => Err(BadWord::TooManyCores(asked, cards, processors)),
            asked => Ok(asked.unwrap_or(most)),
        }
    }

    /// The address of card `number`: the `number`-th behind the first one's.
    pub(crate) fn address(self, number: u32) -> Addressing {
        match self.addressing {
            Addressing::Static { address, prefix, gateway } => {
                let address = (u32::from(address).wrapping_add(number)).into();
                Addressing::Static { address, prefix, gateway }
            }
            Addressing::Dhcp => Addressing::Dhcp,
        }
    }
}

fn addressing(value: &str) -> Option<Addressing> {
    if value == "dhcp" {
        return Some(Addressing::Dhcp);
    }
    let (own, gateway) = value.split_once(',').map_or((value, None), |(own, gateway)| (own, Some(gateway)));
    let (address, prefix) = own.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|bits| (1..=30).contains(bits))?;
    let gateway = match gateway {
        Some(gateway) => Some(gateway.parse::<Ipv4Addr>().ok()?),
        None => None,
    };
    Some(Addressing::Static { address, prefix, gateway })
}
