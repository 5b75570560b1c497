//! Trains an n-gram model on a text file, a document a line: `ngrams_train TEXT OUT [ORDER] [words|characters]`.

use std::io::{BufRead, BufReader};
use std::path::Path;

use signals::{NgramConfig, NgramTrainer, Units};

#[allow(clippy::print_stdout, reason = "an example's whole purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [text, out, rest @ ..] = arguments.as_slice() else {
        return Err("a text and a name for the model wanted".into());
    };
    let order = rest.first().map_or(Ok(3), |order| order.parse())?;
    let units = if rest.get(1).is_some_and(|units| units == "characters") { Units::Characters } else { Units::Words };
    let mut trainer = NgramTrainer::new(NgramConfig { order, units, ..NgramConfig::default() });
    for line in BufReader::new(std::fs::File::open(text)?).lines() {
        trainer.add(&line?);
    }
    let refused = trainer.refused();
    trainer.finish()?.write(Path::new(out))?;
    println!("{{\"refused\": {refused}}}");
    Ok(())
}
