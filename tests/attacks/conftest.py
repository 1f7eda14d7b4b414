collect_ignore = ["mini"]  # the hidden suite of the scratch course: proctor collects it
