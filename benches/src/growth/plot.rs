//! A plot as SVG: logarithmic axes, a line with dots for each way. It has no background, and colours that can be read on a
//! light one and on a dark one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Line;
use super::sweep::COLOURS;
use crate::case::Way;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
const INK: &str = "#808080";

/// A logarithmic axis: whole decades, from its first pixel to its last.
struct Axis {
    from: f64,
    to: f64,
    first: f64,
    last: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, first: f64, last: f64) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (from, to) = (low.log10().floor(), high.log10().ceil());
        Self { from, to: to.max(from + 1.0), first, last }
    }

    fn place(&self, value: f64) -> f64 {
        self.first + (value.log10() - self.from) / (self.to - self.from) * (self.last - self.first)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|power| 10_f64.powi(power))
    }
}

/// The whole plot.
pub(super) fn svg(title: &str, x_name: &str, y_name: &str, lines: &BTreeMap<Way, Line>) -> String {
    let points = || lines.values().flat_map(|line| line.points.iter().copied());
    let x = Axis::over(points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
    let y = Axis::over(points().map(|(_, y)| y), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\" fill=\"{INK}\">\n<title>{title}</title>\n"
    );
    text(&mut svg, (LEFT, 24.0), "font-size=\"15\"", title);
    grid(&mut svg, &x, &y);
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    text(&mut svg, ((x.first + x.last) / 2.0, HEIGHT - 12.0), "text-anchor=\"middle\"", x_name);
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\"");
    text(&mut svg, (18.0, middle), &turned, y_name);
    for (number, (way, colour)) in COLOURS.iter().filter(|(way, _)| lines.contains_key(way)).enumerate() {
        draw(&mut svg, &lines[way], colour, &x, &y);
        let (legend, at) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 40.0 * number as f64);
        text(&mut svg, (legend, at), &format!("fill=\"{colour}\" font-weight=\"bold\""), way.name());
        text(&mut svg, (legend, at + 16.0), "", &format!("grows with {} ^ {:.2}", "n", lines[way].exponent));
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    let rule = |svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)| {
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.3\"/>"
        );
    };
    for value in x.decades() {
        let at = x.place(value);
        rule(svg, (at, y.first), (at, y.last));
        text(svg, (at, y.first + 20.0), "text-anchor=\"middle\"", &number(value));
    }
    for value in y.decades() {
        let at = y.place(value);
        rule(svg, (x.first, at), (x.last, at));
        text(svg, (x.first - 8.0, at + 4.0), "text-anchor=\"end\"", &number(value));
    }
}

fn draw(svg: &mut String, line: &Line, colour: &str, x: &Axis, y: &Axis) {
    let places: Vec<_> = line.points.iter().map(|(a, b)| (x.place(*a), y.place(*b))).collect();
    let path: Vec<_> = places.iter().map(|(a, b)| format!("{a:.1},{b:.1}")).collect();
    let _ =
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" "));
    for (a, b) in places {
        let _ = writeln!(svg, "<circle cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>");
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_its_line_within_the_axes() {
        let line = Line { points: vec![(1.0, 250.0), (1_000.0, 4_000.0)], exponent: 0.4 };
        let svg = svg("Title", "peers", "ns", &BTreeMap::from([(Way::Raw, line.clone()), (Way::Plugin, line)]));
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 4));
        assert!(svg.contains("plugin") && svg.contains("10 k") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
