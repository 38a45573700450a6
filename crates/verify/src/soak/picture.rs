//! The samples as a picture: one panel for each quantity, over time.

use super::samples::Sample;
use plotters::prelude::*;
use std::path::Path;

type Line = (&'static str, fn(&Sample) -> f64, RGBColor);

/// A panel: what it shows, and its lines.
const PANELS: [(&str, &[Line]); 5] = [
    (
        "memory in MiB",
        &[("resident", |sample| sample.resident_mib, BLUE), ("allocated", |sample| sample.allocated_mib, RED)],
    ),
    (
        "descriptors and clients",
        &[("descriptors", |sample| sample.descriptors, BLUE), ("clients", |sample| sample.connections, RED)],
    ),
    ("threads", &[("threads", |sample| sample.threads, BLUE)]),
    ("latency of an exchange in ms", &[("99 %", |sample| sample.p99, RED), ("median", |sample| sample.median, BLUE)]),
    ("exchanges per second", &[("exchanges", |sample| sample.exchanges, BLUE)]),
];

pub(super) fn draw(path: &Path, samples: &[Sample]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, (900, 1_100)).into_drawing_area();
    area.fill(&WHITE)?;
    // Some room on the right, for the names.
    let end = samples.last().map_or(1.0, |sample| sample.seconds);
    for (panel, (title, lines)) in area.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
        let values = lines.iter().flat_map(|(_, of, _)| samples.iter().map(of));
        let most = values.fold(0.0_f64, f64::max).max(1e-3) * 1.1;
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end * 1.15, 0.0..most)?;
        chart.configure_mesh().light_line_style(WHITE).x_desc("seconds").y_labels(5).draw()?;
        for (name, of, colour) in lines {
            let points = samples.iter().map(|sample| (sample.seconds, of(sample)));
            chart
                .draw_series(LineSeries::new(points, colour))?
                .label(*name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], *colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
    }
    area.present()?;
    Ok(())
}
