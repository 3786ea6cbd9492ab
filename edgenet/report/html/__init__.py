"""Reports as one HTML file each: no script, no network, pictures as inline SVG."""
