//! The page: one file that needs nothing from elsewhere, in light and in dark, and on paper.

use std::fmt::Write;

use super::drawings::Drawing;
use super::{Comparison, Reported, summary, tables};
use crate::charts::{escape, figure};

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f4f6f8;--card:#ffffff;--ink:#1b2430;--soft:#5a6675;\
--rule:#dde3ea;--yes:#1f7a4d;--no:#b3382c;--partly:#9a6a00}\
@media(prefers-color-scheme:dark){:root{--page:#0d1115;--card:#14191f;--ink:#e8edf3;\
--soft:#9aa7b5;--rule:#2a323c;--yes:#62c796;--no:#f08a7d;--partly:#e2b457}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
main{max-width:1160px;margin:0 auto;padding:32px 20px 64px}\
h1{font-size:28px;margin:0 0 4px}h2{font-size:22px;margin:40px 0 4px}\
h3{font-size:17px;margin:28px 0 4px}p{margin:6px 0}.soft{color:var(--soft);font-size:14px}\
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}\
figure{margin:20px 0;background:var(--card);border:1px solid var(--rule);border-radius:8px;\
padding:6px}figure svg{display:block;width:100%;height:auto}\
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px;\
margin:10px 0}table{border-collapse:collapse;width:100%;font-size:13px;\
font-variant-numeric:tabular-nums}\
th,td{padding:6px 7px;text-align:right;vertical-align:top;border-top:1px solid var(--rule)}\
td{white-space:nowrap}th:first-child,td:first-child{text-align:left}\
thead th{border-top:0;font-weight:600;color:var(--soft)}\
.finding{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 16px;\
margin:10px 0}.finding b{margin-right:8px}.holds{font-size:12px;font-weight:600;\
border:1px solid currentColor;border-radius:99px;padding:1px 9px;color:var(--soft);\
white-space:nowrap}.yes{color:var(--yes)}.no{color:var(--no)}.partly{color:var(--partly)}\
.fault{color:var(--no);font-weight:600}summary{cursor:pointer;color:var(--soft);margin:10px 0}\
@media print{body{background:#fff}figure,.finding{break-inside:avoid}}";

/// The whole page.
#[must_use]
pub(super) fn page(title: &str, results: &[Reported], drawings: &[Vec<Drawing>]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} – \
         Fanfare measurements</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p class=\"soft\">Measured with loadgen. Figures that are computed and \
         not measured say so.</p>\n"
    );
    for (result, drawings) in results.iter().zip(drawings) {
        section(&mut page, result, drawings);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn section(page: &mut String, result: &Reported, drawings: &[Drawing]) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "<section>\n<h2>{}</h2>", escape(result.name()));
    let _ = writeln!(page, "<p><code>{}</code></p>", escape(&result.command()));
    let _ = writeln!(page, "<p class=\"soft\">{}</p>", escape(&result.environment()));
    for (name, count) in result.faults() {
        let _ = writeln!(page, "<p class=\"fault\">{count} {}</p>", escape(&name));
    }
    match &result.comparison {
        Some(comparison) => {
            for drawing in drawings {
                let _ = writeln!(page, "<figure>{}</figure>", drawing.svg);
            }
            write_comparison(page, comparison);
        }
        None => write_figures(page, result),
    }
    page.push_str("</section>\n");
}

fn write_figures(page: &mut String, result: &Reported) {
    page.push_str(&table(&summary::headlines(result)));
    let all: Vec<Vec<String>> = std::iter::once(vec!["figure".to_owned(), "median".to_owned()])
        .chain(result.figures().into_iter().map(|(path, value)| vec![path, figure(value)]))
        .collect();
    let _ = writeln!(page, "<details><summary>all {} figures</summary>", all.len() - 1);
    page.push_str(&table(&all));
    page.push_str("</details>\n");
}

fn write_comparison(page: &mut String, comparison: &Comparison) {
    let _ = writeln!(page, "<h3>What the articles say, and what holds</h3>");
    for finding in &comparison.findings {
        let class = match finding.holds.as_str() {
            "yes" | "no" | "partly" => finding.holds.as_str(),
            _ => "",
        };
        let _ = writeln!(
            page,
            "<div class=\"finding\"><b>{}</b><span class=\"holds {class}\">{}</span>\
             <p>{}</p></div>",
            escape(&finding.claim),
            escape(&finding.holds),
            escape(&finding.found)
        );
    }
    for cells in tables::of(comparison) {
        let _ = writeln!(page, "<h3>{}</h3>\n<p class=\"soft\">{}</p>", cells.title, cells.note);
        page.push_str(&table(&cells.lines));
    }
}

fn table(lines: &[Vec<String>]) -> String {
    let mut text = "<div class=\"scroll\"><table>\n".to_owned();
    for (number, line) in lines.iter().enumerate() {
        let (tag, open, close) = match number {
            0 => ("th", "<thead>", "</thead><tbody>"),
            _ => ("td", "", ""),
        };
        let cells: String =
            line.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = writeln!(text, "{open}<tr>{cells}</tr>{close}");
    }
    text.push_str("</tbody></table></div>\n");
    text
}
