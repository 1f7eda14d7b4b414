"""What a learning management system gives and takes: submissions come in, scores go back.

sheet       a CSV file of somebody else's: read, and changed without touching another byte
roster      who is who: the names an LMS gives to the course's students
archives    a zip file, hostile until proven otherwise, or a folder
git         a student's repository, of which nothing ever runs
downloads   the forms in which an LMS hands submissions over, recognised
collect     from a download to submitted/, keeping what was there
scores      from the gradebook into the file that the LMS gave
lti         from the gradebook to a platform's line items
gradescope  an assignment as an autograder that Gradescope runs
"""
