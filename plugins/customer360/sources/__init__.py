"""Sources: a vendor's own export becomes records of a feed, by one SQL file per source.

``declaration`` reads the files, ``input_files`` prepares and counts an export, ``conversion`` runs the SELECT in
DuckDB and accounts for every input record, ``trial`` shows what would land, ``draft`` begins a new source.
"""
