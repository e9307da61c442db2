//! Machines of many shapes, and what `test-locality` must find in each: derived here from QEMU's arguments, and from
//! nothing the kernel says.

use crate::qemu::{Boot, Machine, Node};
use crate::{Result, build::Medium, paths};

use super::vm;
use super::{Built, Case};

/// The program.
pub(super) const PROGRAM: &str = "test-locality";

/// Caches the processor model tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caches {
    /// None: AMD's leaf for caches needs a flag that emulation lacks.
    None,
    /// Levels 1 and 2 of a core, level 3 of a die.
    Three,
}

/// A machine.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    cpu: &'static str,
    /// Packages, dies in each, cores in each die, threads of each core.
    packages: [u32; 4],
    caches: Caches,
    acpi: bool,
    /// Memory in all, in MiB.
    memory: u32,
    nodes: &'static [Node],
    /// The node of each core; none without nodes.
    node_of: &'static [usize],
    /// Rows of distances between nodes; none for no SLIT.
    slit: &'static [&'static [u8]],
    /// For each core the node its memory is in, where that is not its own.
    home_of: &'static [usize],
    /// MiB of each core.
    mib: &'static [u32],
    /// Orders in which core 0 takes others.
    orders: &'static str,
    /// Tables the firmware has, too, and what the kernel must say about them.
    tables: &'static [Table],
}

/// A table that the kernel must refuse.
#[derive(Clone, Copy, Debug)]
struct Table {
    name: &'static str,
    /// What follows its header.
    data: &'static [u8],
    says: &'static str,
}

const fn node(memory: &'static str, processors: &'static str) -> Node {
    Node { memory: Some(memory), processors: Some(processors) }
}

const FLAT: Shape = Shape {
    name: "",
    cpu: "Haswell",
    packages: [1, 1, 4, 1],
    caches: Caches::Three,
    acpi: true,
    memory: 512,
    nodes: &[],
    node_of: &[],
    slit: &[],
    home_of: &[],
    mib: &[],
    orders: "",
    tables: &[],
};

const SHAPES: &[Shape] = &[
    Shape { name: "one package", orders: "nearest=1,2,3 physical=1,2,3 spread=1,2,3", ..FLAT },
    Shape {
        name: "two packages of two threads",
        packages: [2, 1, 2, 2],
        orders: "nearest=1,2,3,4,5,6,7 physical=2,4,6 spread=4,2,6,1,5,3,7",
        ..FLAT
    },
    Shape {
        name: "AMD, APIC IDs with gaps",
        cpu: "EPYC",
        packages: [2, 1, 3, 1],
        caches: Caches::None,
        orders: "nearest=1,2,3,4,5 spread=3,1,4,2,5",
        ..FLAT
    },
    Shape {
        name: "AMD's leaves for caches, a cache for each die",
        cpu: "EPYC,x-force-features=on",
        packages: [1, 2, 2, 2],
        orders: "nearest=1,2,3,4,5,6,7 physical=2,4,6",
        ..FLAT
    },
    Shape {
        name: "AMD without leaf 0xB",
        cpu: "EPYC,x-force-features=on,level=7",
        packages: [2, 1, 2, 2],
        ..FLAT
    },
    Shape { name: "Intel without leaf 0xB", cpu: "Conroe", packages: [2, 1, 2, 2], ..FLAT },
    Shape {
        name: "dies in packages",
        cpu: "Skylake-Client,min-level=0x1f",
        packages: [2, 2, 2, 1],
        orders: "nearest=1,2,3,4,5,6,7 spread=4,1,5,2,6,3,7",
        ..FLAT
    },
    Shape { name: "no ACPI", packages: [1, 1, 1, 1], acpi: false, ..FLAT },
    // A package is a node; the SLIT is missing.
    Shape {
        name: "two nodes, no SLIT",
        packages: [2, 1, 2, 1],
        nodes: &[node("384M", "0-1"), node("128M", "2-3")],
        node_of: &[0, 0, 1, 1],
        mib: &[192, 192, 64, 64],
        orders: "nearest=1,2,3 spread=2,1,3",
        ..FLAT
    },
    // The second node has no memory, and its nearest is the third; the fourth has no processors, and is nearest to the
    // first.
    Shape {
        name: "nodes without memory and without processors, distances with a direction",
        cpu: "EPYC",
        packages: [3, 1, 2, 1],
        caches: Caches::None,
        memory: 896,
        nodes: &[
            node("256M", "0-1"),
            Node { memory: None, processors: Some("2-3") },
            node("512M", "4-5"),
            Node { memory: Some("128M"), processors: None },
        ],
        node_of: &[0, 0, 1, 1, 2, 2],
        slit: &[&[10, 20, 30, 12], &[24, 10, 15, 40], &[31, 16, 10, 41], &[17, 21, 19, 10]],
        home_of: &[0, 0, 2, 2, 2, 2],
        mib: &[192, 192, 128, 128, 128, 128],
        orders: "nearest=1,2,3,4,5 spread=2,4,1,3,5",
        ..FLAT
    },
    // Nodes that number their processors out of turn.
    Shape {
        name: "processors of a node are not neighbours",
        packages: [1, 1, 2, 2],
        nodes: &[
            Node { memory: Some("256M"), processors: Some("0,cpus=2") },
            Node { memory: Some("256M"), processors: Some("1,cpus=3") },
        ],
        node_of: &[0, 1, 0, 1],
        slit: &[&[10, 15], &[25, 10]],
        mib: &[128, 128, 128, 128],
        orders: "nearest=2,1,3 physical=2",
        ..FLAT
    },
    Shape {
        name: "an SRAT whose entries have no length",
        tables: &[Table {
            name: "SRAT",
            data: &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            says: "corey: SRAT: an entry has an impossible length",
        }],
        ..FLAT
    },
    Shape {
        name: "an SRAT without processors, a SLIT without distances",
        tables: &[
            Table { name: "SRAT", data: &[0; 12], says: "corey: SRAT: it leaves out a processor" },
            Table { name: "SLIT", data: &[2, 0, 0, 0, 0, 0, 0, 0, 10], says: "corey: SLIT: it is shorter" },
        ],
        ..FLAT
    },
    Shape {
        name: "a SLIT of fewer nodes than the SRAT",
        nodes: &[node("256M", "0-1"), node("256M", "2-3")],
        node_of: &[0, 0, 1, 1],
        tables: &[Table {
            name: "SLIT",
            data: &[1, 0, 0, 0, 0, 0, 0, 0, 10],
            says: "corey: SLIT: it has fewer nodes than the SRAT",
        }],
        ..FLAT
    },
];

/// Runs the program on all of them.
pub(super) fn cases(built: &Built) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let mut machine = machine(&built.medium, shape);
        for table in shape.tables {
            let file = paths::work("test")?.join(table.name);
            std::fs::write(&file, table.data)?;
            machine.tables.push((table.name, file));
        }
        let says: Vec<&str> = shape.tables.iter().map(|table| table.says).collect();
        cases.extend(vm::run(&machine, &format!("{PROGRAM} on {}", shape.name), &says)?);
    }
    Ok(cases)
}

fn machine(medium: &Medium, shape: &Shape) -> Machine {
    let words = format!("init={PROGRAM} {}", expected(shape));
    let boot = Boot::Direct(medium.kernel.clone(), Some(medium.archive.clone()), words);
    let [packages, dies, cores, threads] = shape.packages;
    let mut machine = Machine::new(shape.packages.iter().product(), &format!("{}M", shape.memory), boot);
    shape.cpu.clone_into(&mut machine.cpu);
    machine.shape = format!("sockets={packages},dies={dies},cores={cores},threads={threads}");
    machine.acpi = shape.acpi;
    machine.nodes = shape.nodes.to_vec();
    let rows = shape.slit.iter().enumerate();
    machine.distances = rows
        .flat_map(|(from, row)| row.iter().enumerate().map(move |(to, distance)| (from, to, *distance)))
        .collect();
    machine.execution = vm::execution(machine.cores);
    machine
}

/// What the program must find, as its command line. QEMU counts threads first, then cores, dies and packages; the
/// boot processor is number 0.
fn expected(shape: &Shape) -> String {
    let all: u32 = shape.packages.iter().product();
    let list = |of: &dyn Fn(u32) -> String| (0..all).map(of).collect::<Vec<_>>().join(",");
    let group = |size: u32| list(&|core| (core / size * size).to_string());
    let [_, dies, cores, threads] = shape.packages;
    let mut words = vec![
        format!("packages={}", group(dies * cores * threads)),
        format!("threads={}", group(threads)),
        shape.orders.to_owned(),
    ];
    if shape.caches == Caches::Three {
        words.push(format!("cache1={0} cache2={0} cache3={1}", group(threads), group(cores * threads)));
    }
    let of = |list: &[usize], core: u32| list.get(core as usize).copied().unwrap_or(0);
    let lowest = |core| (0..all).find(|other| of(shape.node_of, *other) == of(shape.node_of, core));
    words.push(format!("nodes={}", list(&|core| lowest(core).unwrap_or(core).to_string())));
    let home_of = if shape.home_of.is_empty() { shape.node_of } else { shape.home_of };
    let distance = |from: u32, to: u32| {
        let (from, to) = (of(shape.node_of, from), of(home_of, to));
        let told = shape.slit.get(from).map(|row| row[to]);
        told.unwrap_or(if from == to { 10 } else { 20 }).to_string()
    };
    let rows: Vec<String> = (0..all).map(|from| list(&|to| distance(from, to))).collect();
    words.push(format!("distances={}", rows.join(":")));
    let known = 1 + 2 * u32::from(!shape.nodes.is_empty()) + 4 * u32::from(!shape.slit.is_empty());
    words.push(format!("source={}", list(&|_| known.to_string())));
    let even = shape.memory / all;
    let mib = |core: u32| shape.mib.get(core as usize).copied().unwrap_or(even).to_string();
    words.push(format!("mib={}", list(&mib)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_follow_from_the_shape() {
        let shape = Shape {
            packages: [2, 1, 1, 2],
            node_of: &[0, 0, 1, 1],
            slit: &[&[10, 17], &[21, 10]],
            home_of: &[0, 0, 0, 0],
            orders: "nearest=1",
            ..FLAT
        };
        assert_eq!(
            expected(&shape),
            "packages=0,0,2,2 threads=0,0,2,2 nearest=1 cache1=0,0,2,2 cache2=0,0,2,2 cache3=0,0,2,2 nodes=0,0,2,2 \
             distances=10,10,10,10:10,10,10,10:21,21,21,21:21,21,21,21 source=5,5,5,5 mib=128,128,128,128"
        );
    }

    #[test]
    fn every_list_of_a_shape_has_all_its_cores_and_nodes() {
        for shape in SHAPES {
            let cores = shape.packages.iter().product::<u32>() as usize;
            for length in [shape.node_of.len(), shape.home_of.len(), shape.mib.len()] {
                assert!([0, cores].contains(&length), "{}", shape.name);
            }
            assert!([0, shape.nodes.len()].contains(&shape.slit.len()), "{}", shape.name);
            assert!(shape.slit.iter().all(|row| row.len() == shape.nodes.len()), "{}", shape.name);
        }
    }
}
