"""What is written of results: tables in Markdown, plots in SVG, pages in HTML."""
