"""Azure Cost Management: exports and the Query API."""
