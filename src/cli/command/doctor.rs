//! `doctor`: what one would check by hand before a sidecar runs here, or when it does not.

mod checks;
mod provider;
mod report;
mod server;

use reqwest::Url;

use self::report::{Check, Report};
use crate::cli::context::{Context, FormArgs};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::output::write;
use crate::cli::screen::Screen;
use crate::config::{self, Inspection};
use crate::setting;

const EXAMPLES: &str = "Examples:
  opencode-sidecar doctor
  opencode-sidecar doctor --provider anthropic
  opencode-sidecar doctor --offline
  kubectl exec my-pod -c opencode-sidecar -- opencode-sidecar doctor

It reads the variables that `serve` reads. The report holds no secret and can be pasted anywhere.
Exit code 1 if a check says ✗.";

/// Check whether a sidecar can work here, and say what to do if not
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DoctorArgs {
    /// Provider to be called, without a key; may be given again. Default: openai and anthropic, one of which has to
    /// answer
    #[arg(long, short = 'p', value_name = "NAME")]
    provider: Vec<String>,
    /// Address of a provider to be called, up to and including the version
    #[arg(long, value_name = "URL")]
    endpoint: Vec<String>,
    /// Call nobody
    #[arg(long, conflicts_with_all = ["provider", "endpoint"])]
    offline: bool,
    #[command(flatten)]
    form: FormArgs,
}

pub(in crate::cli) async fn run(args: DoctorArgs, context: &Context) -> Outcome {
    let endpoints = args.endpoint.iter().map(|text| endpoint(text));
    let endpoints: Vec<Url> = endpoints.collect::<Result<_, _>>()?;
    let addresses = provider::addresses(&args.provider, &endpoints)?;
    let mut report = Report::default();
    match config::inspection(config::variables()) {
        Ok(inspection) => {
            let mut screen = Screen::new(context.terminal);
            let style = context.terminal.style();
            let mut now = |what: &str| {
                let row = style.dim(&format!("checking {what} …"));
                let rows = if args.form.is_json() {
                    Vec::new()
                } else {
                    vec![row]
                };
                screen.show(&[], rows)
            };
            now("this host")?;
            examine(&inspection, &mut report).await;
            if !args.offline {
                now("the way to the providers")?;
                provider::check(&inspection.gateway, &addresses, &mut report).await;
            }
            screen.lines(&[])?;
        }
        // With a value that cannot be read there is nothing to check.
        Err(error) => report.push(Check::bad(
            "settings",
            error.to_string(),
            "set it to what is accepted",
        )),
    }
    if args.form.is_json() {
        write(&format!("{}\n", report.json()))?;
    } else {
        for line in report.lines(context.terminal.style()) {
            write(&(line + "\n"))?;
        }
    }
    Ok(if report.is_good() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// The address is not in the sentence: it may hold a password.
fn endpoint(text: &str) -> Result<Url, Problem> {
    setting::url(text).map_err(|accepts| Problem::usage(format!("--endpoint: give {accepts}")))
}

async fn examine(inspection: &Inspection, report: &mut Report) {
    report.extend(checks::settings(inspection));
    report.push(checks::opencode(&inspection.opencode).await);
    report.push(checks::workspace(&inspection.workspace));
    let running = server::at(inspection.host, inspection.port);
    report.push(server::port(&running, inspection));
    if !running.is_sidecar() {
        let ports = inspection.other_ports.iter();
        report.extend(ports.map(|(name, host, port)| server::other_port(name, *host, *port)));
    }
    report.extend(checks::data(inspection, running.is_sidecar()));
    report.push(checks::kernel(&inspection.sandbox));
    report.push(checks::memory(inspection.memory_limit));
    report.push(checks::limits());
    report.push(checks::clock());
    report.push(checks::certificates(
        inspection.gateway.extra_ca_file.as_deref(),
    ));
    report.extend(checks::proxy(&inspection.gateway));
}
