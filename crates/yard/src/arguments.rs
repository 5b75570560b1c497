//! What the user can type. Parsing only: no work begins here.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A shipyard for large models: one program and one file, from raw data to a served model that can be
/// rolled back.
#[derive(Debug, Parser)]
#[command(name = "yard", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// How `yard` talks.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArguments {
    /// Print JSON lines on standard output: progress, results and errors.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and errors only.
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub quiet: bool,
    /// Threads for heavy work [default: all processors].
    #[arg(long, global = true, env = "YARD_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// A project, and changes to it for this one call.
#[derive(Debug, Clone, Args)]
pub struct ProjectArguments {
    /// The project's folder, or its yard.toml.
    #[arg(default_value = ".")]
    pub project: PathBuf,
    /// Set a key of yard.toml for this call, such as `train.learning_rate=0.01`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Set damaged artifacts aside first, so that they are made again.
    #[arg(long)]
    pub repair: bool,
}

/// Where the registry is, for commands that name a model.
#[derive(Debug, Clone, Args)]
pub struct RegistryArguments {
    /// The project's folder.
    #[arg(long, short = 'C', default_value = ".")]
    pub project: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a data file and write a commented yard.toml.
    Init {
        /// A CSV, TSV, JSONL, Parquet or text file.
        data: PathBuf,
        /// Where to write [default: yard.toml beside the current folder's other files].
        #[arg(long, short, default_value = "yard.toml")]
        out: PathBuf,
        /// Overwrite a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Print the JSON Schema of yard.toml.
    Schema,
    /// Print what `run` would do: sizes, parameters, memory, time. Nothing runs.
    Plan(ProjectArguments),
    /// Run every stage that yard.toml names, in order.
    Run(ProjectArguments),
    /// Clean, split and fit the data.
    #[command(args_conflicts_with_subcommands = true)]
    Data {
        #[command(subcommand)]
        action: Option<DataAction>,
        #[command(flatten)]
        project: ProjectArguments,
        /// Print every dropped and changed row.
        #[arg(long)]
        explain_drops: bool,
        /// Write the page of labels that are likely wrong to this file, to look at them in a browser.
        #[arg(long, value_name = "FILE")]
        review: Option<PathBuf>,
        /// Have the documents prepared by the workers of this Ballista scheduler. The dataset is the same in every byte.
        #[arg(long, value_name = "HOST:PORT")]
        scheduler: Option<String>,
    },
    /// Be one of many machines that prepare documents together, for `yard data --scheduler`.
    Worker {
        #[command(subcommand)]
        action: WorkerAction,
    },
    /// Train the model.
    Train {
        #[command(flatten)]
        project: ProjectArguments,
        /// Train nothing: find a learning rate by a hundred steps with a rising one (a range test).
        #[arg(long)]
        find_rate: bool,
    },
    /// Search for better settings.
    Tune(ProjectArguments),
    /// Make the model smaller, and measure what it cost.
    Compress(ProjectArguments),
    /// Make an OCI image of the model.
    Package(ProjectArguments),
    /// Serve versions, model folders or GGUF files.
    Serve {
        /// What to serve, one or several: NAME, NAME@3 or NAME@ALIAS of the registry; a GGUF file, or a model's folder
        /// (ours or Hugging Face's), as PATH or NAME=PATH. The first is loaded at once, the others when they are asked
        /// for. Without any, the champion of the only model there is.
        names: Vec<String>,
        #[command(flatten)]
        registry: RegistryArguments,
        /// Serve this model folder instead of a registered version.
        #[arg(long, conflicts_with = "names")]
        model: Option<PathBuf>,
        /// The bytes that all loaded models may take together; what is not in use is unloaded for what is asked for.
        #[arg(long)]
        memory_bytes_max: Option<u64>,
        /// A smaller language model of the same tokens (a path) that guesses ahead for the first model; answers stay the
        /// same.
        #[arg(long)]
        draft: Option<PathBuf>,
        /// The address to listen on; port 0 takes a free one.
        #[arg(long)]
        address: Option<String>,
        /// A key that clients may send, beside those of `yard key create`. Off loopback one is made and
        /// printed for a model folder, which has no other.
        #[arg(long, env = "YARD_KEY", hide_env_values = true)]
        key: Option<String>,
    },
    /// Make, list and revoke the keys that clients of `yard serve` send.
    Key {
        #[command(subcommand)]
        action: KeyAction,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Predict rows of JSON (one object a line), or complete prompts, without a server.
    Predict {
        /// NAME, NAME@3 or NAME@ALIAS.
        name: String,
        #[command(flatten)]
        registry: RegistryArguments,
        /// The file to read; `-` is standard input.
        #[arg(default_value = "-")]
        rows: String,
    },
    /// Compare served traffic with the training data.
    Monitor {
        /// NAME, NAME@3 or NAME@ALIAS.
        name: String,
        #[command(flatten)]
        registry: RegistryArguments,
        /// Only traffic of the last so many hours.
        #[arg(long)]
        hours: Option<f64>,
    },
    /// Make a version the champion, if it passes its gates.
    Promote {
        /// NAME@3.
        name: String,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Make the previous champion the champion again.
    Rollback {
        /// NAME.
        name: String,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Write one self-contained HTML page about a run or a version.
    Report {
        /// A run's number, or NAME@3.
        what: String,
        #[command(flatten)]
        registry: RegistryArguments,
        /// Where to write [default: .yard/reports/WHAT.html].
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Say what made a version or a run, back to the data.
    Show {
        /// A run's number, or NAME@3.
        what: String,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// List versions and aliases.
    Models(RegistryArguments),
    /// List runs, the newest first.
    Runs {
        #[command(flatten)]
        registry: RegistryArguments,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
    },
    /// Print the audit log, the newest first.
    Log {
        #[command(flatten)]
        registry: RegistryArguments,
        /// How many entries.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
    },
}

/// What else can be done with data.
#[derive(Debug, Subcommand)]
pub enum WorkerAction {
    /// Prepare documents: an executor of Apache DataFusion Ballista that knows yard's functions.
    Data {
        /// The project's folder, which all machines see under the same path.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// The scheduler.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
        scheduler: String,
        /// Where the others fetch what was counted; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// Listen on an address that is not loopback: Ballista asks nobody for a key.
        #[arg(long)]
        trust_network: bool,
    },
    /// Give the workers their work: Ballista's scheduler. It needs the project's folder, too, and hardly any processor.
    Scheduler {
        /// Where it listens; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50050")]
        address: SocketAddr,
        /// Seconds of silence after which a worker counts as lost and its work is done by others. Workers speak every 5.
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(6..=86400))]
        worker_timeout: u64,
        /// Listen on an address that is not loopback: Ballista asks nobody for a key.
        #[arg(long)]
        trust_network: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Say what differs between two versions of the dataset.
    Diff {
        /// The run that made the first (`yard runs` lists them), or NAME@3 that was trained on it.
        first: String,
        /// The second.
        second: String,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Propose a file of expectations from the rows as they are.
    Expectations {
        #[command(flatten)]
        project: ProjectArguments,
        /// Where to write.
        #[arg(long, short, default_value = "expectations.toml")]
        out: PathBuf,
        /// Overwrite a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Find the images that look alike, by their perceptual hashes.
    Images {
        /// Files, globs, folders, archives or URLs of PNG, JPEG and WebP images.
        #[arg(required = true)]
        sources: Vec<String>,
        /// In how many of 64 bits two images that look alike may differ.
        #[arg(long, short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=32))]
        distance: u32,
    },
    /// Say how far annotators agree, from a file with a row for each item and a column for each annotator.
    Agreement {
        /// CSV, JSONL or Parquet.
        file: PathBuf,
        /// The columns of the annotators [default: all].
        #[arg(long, short, value_delimiter = ',')]
        columns: Vec<String>,
        /// What may be said of the distance between two ratings.
        #[arg(long, value_enum, default_value_t = Level::Nominal)]
        level: Level,
    },
    /// Turn the pseudonyms in a file back into what they stand for, and print it.
    Reveal {
        /// A text file.
        file: PathBuf,
        /// The file of the key that they were made with.
        #[arg(long)]
        key_file: PathBuf,
    },
}

/// What may be said of the distance between two ratings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Equal or not.
    Nominal,
    /// An order.
    Ordinal,
    /// Differences.
    Interval,
    /// Ratios.
    Ratio,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a key, and print its secret, which is shown this once.
    Create {
        /// A name for it, in the access log and to revoke it by.
        name: String,
        /// What it may be used for: infer, metrics (reading /metrics only), admin (everything).
        #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "infer")]
        scope: Vec<String>,
        /// The most requests in a minute.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        requests_per_minute: Option<u32>,
        /// The most tokens in a minute, read and generated.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        tokens_per_minute: Option<u32>,
        /// The most tokens in the key's life.
        #[arg(long, value_name = "COUNT")]
        tokens_total: Option<u64>,
        /// After how many days it ends [default: never].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        expires: Option<u32>,
    },
    /// List keys, without their secrets.
    List,
    /// End a key; servers that run refuse it within a second.
    Revoke {
        /// The key's name.
        name: String,
    },
}
