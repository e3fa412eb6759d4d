//! What of PMI-1 and PMI-2 works, as tables. `MATRIX.md` is generated from them; a test compares the two.

use std::fmt::Write;

/// How far a function is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Does what it promises.
    Full,
    /// Checks its arguments, then returns `PMI_FAIL` with the reason on stderr.
    Refused,
}

/// One exported function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Name of the symbol.
    pub name: &'static str,
    /// How far it is provided.
    pub support: Support,
    /// What is worth knowing about it.
    pub note: &'static str,
}

/// A group of functions, as in the header.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its heading.
    pub title: &'static str,
    /// Its functions.
    pub functions: &'static [Function],
}

const fn full(name: &'static str, note: &'static str) -> Function {
    Function { name, support: Support::Full, note }
}

const fn refused(name: &'static str, note: &'static str) -> Function {
    Function { name, support: Support::Refused, note }
}

/// A library.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// Its soname.
    pub soname: &'static str,
    /// Its header.
    pub header: &'static str,
    /// Its functions.
    pub groups: &'static [Group],
}

/// Both libraries.
pub const LIBRARIES: &[Library] = &[
    Library { soname: "libpmi.so.0", header: "include/pmi.h", groups: PMI },
    Library { soname: "libpmi2.so.0", header: "include/pmi2.h", groups: PMI2 },
];

const PMI: &[Group] = &[
    Group {
        title: "Membership",
        functions: &[
            full(
                "PMI_Init",
                "outside any job: rank 0 of 1; in a job without a server: fails and says so",
            ),
            full("PMI_Initialized", "any time"),
            full("PMI_Finalize", "any time; nothing to leave is success"),
            full("PMI_Abort", "any time, any thread, also while another one stands in a barrier"),
        ],
    },
    Group {
        title: "Process group",
        functions: &[
            full("PMI_Get_size", ""),
            full("PMI_Get_rank", ""),
            full("PMI_Get_universe_size", "`PMI_UNIVERSE_SIZE`, else the size"),
            full("PMI_Get_appnum", "`PMI_APPNUM`, else 0"),
            full("PMI_Get_clique_size", "from `PMI_process_mapping`, else the scheduler, else 1"),
            full("PMI_Get_clique_ranks", ""),
            full("PMI_Get_id", "the kvsname"),
            full("PMI_Get_kvs_domain_id", "the kvsname"),
            full("PMI_Get_id_length_max", "256; any time"),
            full("PMI_Barrier", ""),
        ],
    },
    Group {
        title: "Key-value spaces",
        functions: &[
            full("PMI_KVS_Get_my_name", ""),
            full("PMI_KVS_Get_name_length_max", "256; any time"),
            full("PMI_KVS_Get_key_length_max", "256; any time"),
            full("PMI_KVS_Get_value_length_max", "1,024; any time"),
            full("PMI_KVS_Create", "usable by every rank that knows the name"),
            full("PMI_KVS_Destroy", "spaces of `PMI_KVS_Create` only"),
            full("PMI_KVS_Put", "a later put replaces; values may hold spaces and newlines"),
            full("PMI_KVS_Commit", ""),
            full("PMI_KVS_Get", "no system call; a missing key fails at once"),
            full("PMI_KVS_Iter_first", ""),
            full("PMI_KVS_Iter_next", ""),
        ],
    },
    Group {
        title: "Processes, names, options",
        functions: &[
            refused("PMI_Spawn_multiple", "waits for process creation"),
            refused("PMI_Publish_name", "waits for name publishing"),
            refused("PMI_Unpublish_name", "waits for name publishing"),
            refused("PMI_Lookup_name", "waits for name publishing"),
            full("PMI_Parse_option", "any time"),
            full("PMI_Args_to_keyval", "any time"),
            full("PMI_Free_keyvals", "any time"),
            full("PMI_Get_options", "any time"),
        ],
    },
    Group {
        title: "Names of the draft paper",
        functions: &[
            full("PMI_KVS_iter_first", "buffers of the announced maxima"),
            full("PMI_KVS_iter_next", "buffers of the announced maxima"),
            refused("PMI_Spawn", "waits for process creation"),
            full(
                "PMI_Args_to_info",
                "this library keeps no arguments for itself, so it takes none out",
            ),
        ],
    },
    Group {
        title: "Extensions",
        functions: &[
            full("PMIX_Ibarrier", "a barrier in two halves, without a thread"),
            full("PMIX_Iallgather", "one value of each rank"),
            full("PMIX_Wait", ""),
            full("PMIX_Test", "looks for the server's answer, too"),
        ],
    },
];

const PMI2: &[Group] = &[
    Group {
        title: "Membership",
        functions: &[
            full("PMI2_Init", "outside any job: rank 0 of 1, appnum -1"),
            full("PMI2_Initialized", "any time; zero again after `PMI2_Finalize`"),
            full("PMI2_Finalize", "any time; nothing to leave is success"),
            full("PMI2_Abort", "any time, any thread; with flag 0 only this process leaves"),
        ],
    },
    Group {
        title: "Ids",
        functions: &[
            full("PMI2_Job_GetId", "the kvsname"),
            full("PMI2_Job_GetRank", ""),
            full("PMI2_Info_GetSize", "of the job, as in Slurm's library"),
        ],
    },
    Group {
        title: "Key-value pairs",
        functions: &[
            full("PMI2_KVS_Put", "a later put replaces; values may hold spaces, `;` and newlines"),
            full("PMI2_KVS_Fence", ""),
            full("PMI2_KVS_Get", "no system call; own job only"),
        ],
    },
    Group {
        title: "Attributes",
        functions: &[
            full("PMI2_Info_PutNodeAttr", "8 MiB per node"),
            full("PMI2_Info_GetNodeAttr", "`waitfor` blocks, until it is hopeless"),
            full("PMI2_Info_GetNodeAttrIntArray", "`localRanks`, `localRanksCount`"),
            full("PMI2_Info_GetJobAttr", "`PMI_process_mapping`, `universeSize`"),
            full("PMI2_Info_GetJobAttrIntArray", "`universeSize`"),
        ],
    },
    Group {
        title: "Ring",
        functions: &[full("PMIX_Ring", "in the order of ranks; a fence is part of it")],
    },
    Group {
        title: "Other jobs, processes, names",
        functions: &[
            refused("PMI2_Job_Connect", "waits for process creation"),
            refused("PMI2_Job_Disconnect", "waits for process creation"),
            refused("PMI2_Job_Spawn", "waits for process creation"),
            refused("PMI2_Nameserv_publish", "waits for name publishing"),
            refused("PMI2_Nameserv_lookup", "waits for name publishing"),
            refused("PMI2_Nameserv_unpublish", "waits for name publishing"),
        ],
    },
];

/// The text of `MATRIX.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# What works\n\n\
         Generated from `src/matrix.rs`; `cargo test -p pmi write_matrix -- --ignored` writes it anew.\n\n\
         *yes*: does what the header promises. *not yet*: checks its arguments, then returns `PMI_FAIL` or\n\
         `PMI2_FAIL` with the reason on stderr.\n",
    );
    for Library { soname, header, groups } in LIBRARIES {
        let _ = write!(text, "\n## {soname}\n\n`{header}` documents each function.\n");
        groups.iter().for_each(|group| write_group(&mut text, group));
    }
    text
}

fn write_group(text: &mut String, group: &Group) {
    let _ = write!(text, "\n### {}\n\n| function | works | note |\n|---|---|---|\n", group.title);
    for Function { name, support, note } in group.functions {
        let works = match support {
            Support::Full => "yes",
            Support::Refused => "not yet",
        };
        let _ = writeln!(text, "| `{name}` | {works} | {note} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/MATRIX.md");

    #[test]
    fn the_file_is_what_the_table_says() {
        let file = std::fs::read_to_string(FILE).expect("MATRIX.md is readable");
        assert_eq!(file, markdown(), "run: cargo test -p pmi write_matrix -- --ignored");
    }

    #[test]
    #[ignore = "writes MATRIX.md"]
    fn write_matrix() {
        std::fs::write(FILE, markdown()).expect("MATRIX.md is writable");
    }

    #[test]
    fn the_tables_have_every_exported_symbol_and_no_other() {
        let lists = [include_str!("../symbols.txt"), include_str!("../libpmi2/symbols.txt")];
        for (library, list) in LIBRARIES.iter().zip(lists) {
            let functions = library.groups.iter().flat_map(|group| group.functions);
            let mut names: Vec<_> = functions.map(|function| function.name).collect();
            names.sort_unstable();
            assert_eq!(names, list.lines().collect::<Vec<_>>(), "{}", library.soname);
        }
    }
}
