;;; smtps-outbox.el --- Mail kept in files until it is accepted  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The outbox is a directory; the states of mail are its directories:
;; queue, held, active, sent and failed.  An entry is a directory in one
;; of them, and every change of state one rename.  This file writes
;; entries and reads them, with no helper alive.
;;
;; An entry is written in tmp/, flushed, and renamed into its state as
;; the last step: whatever is killed in between leaves nothing, a
;; remainder in tmp/, or the whole entry.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-option)
(require 'smtps-wire)

(define-error 'smtps-outbox-error "Outbox" 'smtps-error)

(defconst smtps-outbox-states '(queue held active sent failed)
  "The states of an entry, which are directories of the outbox.")

(defconst smtps-outbox--name-regexp "\\`[^.]"
  "What the names of entries match, and of what does not belong there.
Hidden files are file managers' and file systems' own.")

(defconst smtps-outbox--id-digits "abcdefghijklmnopqrstuvwxyz0123456789"
  "The characters of the random part of an entry's name.")

(defconst smtps-outbox--envelope-limit (* 4 1024 1024)
  "The longest envelope.sexp that is read, in octets.
A recipient takes some 60 octets, so that this is tens of thousands.")

(defconst smtps-outbox--journal-limit (* 4 1024 1024)
  "The longest journal.sexp that is read whole, in octets.
Of a longer one, only the end is.")

(defvar smtps-outbox-change-hook nil
  "Normal hook, run when this Emacs has changed the outbox, or heard of a change.
It may be run in filters and timers, and errors in it are only shown.")

(defun smtps-outbox-changed ()
  "Run `smtps-outbox-change-hook'."
  (with-demoted-errors "smtps: %S"
    (run-hooks 'smtps-outbox-change-hook)))

;;; Writing

(defun smtps-outbox--refuse (format-string &rest arguments)
  "Signal `smtps-outbox-error' with FORMAT-STRING applied to ARGUMENTS."
  (signal 'smtps-outbox-error
          (list (apply #'format-message format-string arguments))))

(defun smtps-outbox--directory (&rest names)
  "Return the outbox, or the file in it that NAMES lead to, absolute."
  (let ((file (expand-file-name (smtps-option 'smtps-outbox-directory))))
    (dolist (name names file)
      (setq file (concat (file-name-as-directory file) name)))))

(defun smtps-outbox--make-directory (directory)
  "Make DIRECTORY if it is missing, and let nobody else into it."
  (unless (file-directory-p directory)
    (with-file-modes #o700 (make-directory directory t)))
  (unless (eql (logand (file-modes directory) #o777) #o700)
    (set-file-modes directory #o700)))

(defun smtps-outbox--device (file)
  "Return the number of the device that FILE lies on."
  (file-attribute-device-number (file-attributes file)))

(defun smtps-outbox-ready ()
  "See that entries can be written; make what is missing of the outbox.
Signal `smtps-outbox-error' if they can't."
  (when (file-remote-p (smtps-option 'smtps-outbox-directory))
    (smtps-outbox--refuse
     "The outbox %s is on another machine; it must be on this one.  \
Set `smtps-outbox-directory'." smtps-outbox-directory))
  (let ((file-name-handler-alist nil)
        (root (smtps-outbox--directory)))
    (condition-case problem
        (progn
          (smtps-outbox--make-directory root)
          (dolist (name '("tmp" "queue" "held" "active" "sent" "failed" "log"))
            (smtps-outbox--make-directory (smtps-outbox--directory name)))
          (unless (file-writable-p (smtps-outbox--directory "tmp"))
            (smtps-outbox--refuse "it is not writable")))
      (error
       (smtps-outbox--refuse
        "The outbox %s can't be used: %s.  Nothing was sent or kept; \
see to that directory, or set `smtps-outbox-directory'."
        root (smtps-outbox--reason problem))))
    ;; Across devices a rename is a copy, which may stop half way.
    (let ((device (smtps-outbox--device (smtps-outbox--directory "tmp"))))
      (dolist (name '("queue" "held"))
        (unless (equal device
                       (smtps-outbox--device (smtps-outbox--directory name)))
          (smtps-outbox--refuse
           "%s is on another device than the rest of the outbox, so that mail \
can't be kept safely.  Nothing was sent or kept; set `smtps-outbox-directory'."
           (smtps-outbox--directory name)))))))

(defun smtps-outbox--reason (problem)
  "Return in words why, from the error PROBLEM, without its file names."
  (let ((words (cl-remove-if (lambda (datum)
                               (or (not (stringp datum))
                                   (file-name-absolute-p datum)))
                             (cdr problem))))
    (cond ((eq (car problem) 'smtps-outbox-error) (cadr problem))
          ;; ("Opening output file" "No space left on device" FILE)
          ((and words (memq 'file-error (get (car problem) 'error-conditions)))
           (let ((reason (car (last words))))
             (concat (downcase (substring reason 0 1)) (substring reason 1))))
          (t (error-message-string problem)))))

(defun smtps-outbox-new-id ()
  "Return a name for a new entry: the time, UTC, and ten random characters."
  (let ((random (make-string 10 ?a)))
    (dotimes (i (length random))
      (aset random i (aref smtps-outbox--id-digits
                           (random (length smtps-outbox--id-digits)))))
    (concat (format-time-string "%Y%m%dT%H%M%S-" nil t) random)))

(defun smtps-outbox--write-file (file)
  "Write the octets of the current buffer to the new FILE and flush it."
  (let ((coding-system-for-write 'no-conversion)
        ;; In batch it is t: the mail must be on the disk nevertheless.
        (write-region-inhibit-fsync nil)
        (write-region-annotate-functions nil)
        (write-region-post-annotation-function nil))
    (with-file-modes #o600
      (write-region nil nil file nil 'no-message nil 'excl))))

(defun smtps-outbox--make-empty (file)
  "Make FILE, with nothing in it."
  (let ((file-name-handler-alist nil)
        (write-region-inhibit-fsync t)
        (write-region-annotate-functions nil)
        (write-region-post-annotation-function nil))
    (with-file-modes #o600
      (make-empty-file file))))

(defconst smtps-outbox--untold "untold"
  "The file, empty, of an entry whose fate nobody was told yet.")

(defun smtps-outbox--make-untold (directory)
  "Note that nobody was told yet of the fate of the entry in DIRECTORY."
  (smtps-outbox--make-empty (concat directory "/" smtps-outbox--untold)))

(defun smtps-outbox-untold-p (directory)
  "Return non-nil if nobody was told yet of the fate of the entry in DIRECTORY."
  (let ((file-name-handler-alist nil))
    (file-exists-p (concat directory "/" smtps-outbox--untold))))

(defun smtps-outbox-to-be-told (id)
  "Note that nobody was told yet of the fate of the mail ID."
  (let ((state (car (smtps-outbox-states-of id))))
    (when state
      ;; It may be moved meanwhile, or the disk be full: whoever runs, hears.
      (ignore-error file-error
        (let ((directory (smtps-outbox--directory (symbol-name state) id)))
          (unless (smtps-outbox-untold-p directory)
            (smtps-outbox--make-untold directory)))))))

(defun smtps-outbox-told (id)
  "Note that the fate of the mail ID is told now.
Return non-nil if nobody was told before."
  (let* ((file-name-handler-alist nil)
         (state (car (smtps-outbox-states-of id)))
         (directory (and state (smtps-outbox--directory (symbol-name state) id)))
         (gone (concat directory "/." smtps-outbox--untold)))
    (and state
         (smtps-outbox-untold-p directory)
         ;; To delete what is there no longer is no error; this is.
         (ignore-error file-error
           (rename-file (concat directory "/" smtps-outbox--untold) gone t)
           (delete-file gone)
           t))))

(defun smtps-outbox-edited (directory)
  "Return the name of a file in DIRECTORY, an entry that is being edited.
It is \"edited.\" and the name of an Emacs, alive or not.  Return nil if
nobody edits it."
  (let ((file-name-handler-alist nil))
    (car (ignore-error file-error
           (directory-files directory nil "\\`edited\\." t)))))

(defun smtps-outbox-edited-by (id here)
  "Note that the Emacs named HERE edits the mail ID, which is held."
  ;; Without room for that, it is edited all the same.
  (ignore-error file-error
    (smtps-outbox--make-empty
     (concat (smtps-outbox--directory "held" id) "/edited." here))))

(defun smtps-outbox-edited-no-more (directory)
  "Note that nobody edits the entry in DIRECTORY.
Return non-nil if it was this call that changed that."
  (let ((file-name-handler-alist nil)
        (name (smtps-outbox-edited directory))
        (gone (concat directory "/.edited")))
    (and name
         ;; Of two only one can rename it.
         (ignore-error file-error
           (rename-file (concat directory "/" name) gone t)
           (delete-file gone)
           t))))

(defun smtps-outbox--write-forms (file forms)
  "Write FORMS, one a line, to the new FILE and flush it."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (dolist (form forms)
      (insert (encode-coding-string (smtps-wire-print form) 'utf-8-unix) "\n"))
    (smtps-outbox--write-file file)))

(defun smtps-outbox-account-form (account)
  "Return the properties by which envelope.sexp freezes ACCOUNT."
  (append
   (cl-loop for key in '(:name :host :port :tls :user :ca-file
                               :mechanisms :password-command)
            append (list key (plist-get account key)))
   (cl-loop for key in '(:author :client-certificate :client-key :send-in-clear)
            for value = (plist-get account key)
            when value append (list key value))))

(defun smtps-outbox--envelope-forms (id envelope)
  "Return the forms of envelope.sexp for entry ID from the plist ENVELOPE.
The current buffer holds the message's octets."
  `((envelope :version 1 :id ,id
              :created ,(time-convert nil 'integer)
              :message-id ,(plist-get envelope :message-id)
              :size ,(buffer-size)
              ,@(and (plist-get envelope :not-before)
                     (list :not-before (plist-get envelope :not-before))))
    (account ,@(smtps-outbox-account-form (plist-get envelope :account)))
    (mail ,(plist-get envelope :from) ,@(plist-get envelope :wishes))
    ,@(mapcar (lambda (address)
                `(rcpt ,address
                       ,@(cdr (assoc address (plist-get envelope :notices)))))
              (plist-get envelope :recipients))
    (end)))

(defun smtps-outbox--discard (directory)
  "Delete the unfinished entry DIRECTORY in tmp/, or what can be deleted."
  (ignore-errors
    ;; The envelope first: without it the rest is nobody's mail.
    (ignore-errors (delete-file (concat directory "/envelope.sexp")))
    (delete-directory directory t)))

(defun smtps-outbox--claim (id)
  "Take entry ID out of sight, into tmp/; return the state it was in, or nil.
That is held or failed, where no process takes it up by itself."
  (cl-loop for state in '("held" "failed")
           when (ignore-error file-error
                  (rename-file (smtps-outbox--directory state id)
                               (smtps-outbox--directory "tmp" id))
                  t)
           return state))

(defun smtps-outbox-put (envelope &optional afterwork state to-be-told)
  "Keep the current buffer as a message in the outbox; return the entry's id.
The buffer is unibyte and holds the octets as they are to be sent.
ENVELOPE is a plist of `:account' (a plist as from `smtps-account-for',
with `:author' where it has no user: who logs in), `:from' and
`:recipients' (a list), which are addresses, `:message-id', `:not-before',
seconds since 1970 or nil, `:wishes', the properties of the form `mail'
in envelope.sexp, and `:notices', an alist of addresses and those of
their forms `rcpt', and `:replaces', the id of a mail in held/ or
failed/ that this one is made of, or nil: just one of several such is
kept, and that mail is dropped.  AFTERWORK is a list of forms for
afterwork.sexp.  STATE is `queue' (the default) or `held'.  With
TO-BE-TOLD, somebody is to hear of its fate: see `smtps-outbox-told'.

Signal `smtps-outbox-error', or quit, if it can't be kept: then nothing
is.  Once it returns, the entry is whole and on the disk.  Quits are
inhibited while it works, and obeyed up to the rename; one that comes
later is left in `quit-flag'."
  (smtps-outbox-ready)
  (let* ((inhibit-quit t)
         (file-name-handler-alist nil)
         (id (smtps-outbox-new-id))
         (state (symbol-name (or state 'queue)))
         (temporary (smtps-outbox--directory "tmp" id))
         (final (smtps-outbox--directory state id))
         (replaced (plist-get envelope :replaces))
         (claimed nil)
         (kept nil))
    (unwind-protect
        (progn
          (condition-case problem
              (progn
                (with-file-modes #o700 (make-directory temporary))
                (smtps-outbox--write-file (concat temporary "/message.eml"))
                (when afterwork
                  (smtps-outbox--write-forms
                   (concat temporary "/afterwork.sexp") afterwork))
                ;; To whoever sends it, making files is what takes longest.
                (smtps-outbox--make-empty (concat temporary "/journal.sexp"))
                (when to-be-told
                  (smtps-outbox--make-untold temporary))
                ;; Last, since it makes the entry a whole one.
                (smtps-outbox--write-forms
                 (concat temporary "/envelope.sexp")
                 (smtps-outbox--envelope-forms id envelope))
                (unless quit-flag
                  (when replaced
                    (setq claimed (smtps-outbox--claim replaced)))
                  (when (or claimed (null replaced))
                    (rename-file temporary final)
                    (setq kept t))))
            (error
             (smtps-outbox--refuse
              "The mail can't be written to the outbox %s: %s.  \
Nothing was sent; the mail is where it was."
              (smtps-outbox--directory) (smtps-outbox--reason problem))))
          (unless (or kept quit-flag)
            (smtps-outbox--refuse "The mail as it was before edited was just taken \
up by somebody else, as %s.  This one was not sent." replaced))
          (unless kept
            (setq quit-flag nil)
            (signal 'quit nil)))
      (unless kept
        (when claimed
          (ignore-error file-error
            (rename-file (smtps-outbox--directory "tmp" replaced)
                         (smtps-outbox--directory claimed replaced))))
        (smtps-outbox--discard temporary)))
    (when claimed
      (smtps-outbox--discard (smtps-outbox--directory "tmp" replaced)))
    (smtps-outbox--sync final (smtps-outbox--directory state)
                        (smtps-outbox--directory "tmp"))
    id))

(defun smtps-outbox--sync (&rest directories)
  "Flush DIRECTORIES to the disk, which Emacs itself can't do.
Where there is no program for it, only a power cut can undo the rename."
  (condition-case nil
      (let ((default-directory "/"))
        (apply #'call-process "sync" nil nil nil directories))
    ((error quit) nil)))

(defun smtps-outbox-move (id from to)
  "Move entry ID from the state FROM to TO; return non-nil if that was done.
One of the two is `queue' and the other `held', or what was left behind
in `tmp' becomes held: all other moves are the helper's.  When another
process moved it first, return nil.  Signal `smtps-outbox-error' if the
outbox can't be written."
  (unless (member (list from to) '((queue held) (held queue) (tmp held)))
    (error "Mail is not moved from %s to %s by Emacs" from to))
  (let ((file-name-handler-alist nil)
        (from (symbol-name from))
        (to (symbol-name to)))
    (condition-case problem
        (progn
          (rename-file (smtps-outbox--directory from id)
                       (smtps-outbox--directory to id))
          (smtps-outbox--sync (smtps-outbox--directory from)
                              (smtps-outbox--directory to))
          (smtps-outbox-edited-no-more (smtps-outbox--directory to id))
          (smtps-outbox-changed)
          t)
      ((file-missing file-already-exists) nil)
      (file-error
       (smtps-outbox--refuse "The mail can't be moved from %s to %s: %s."
                             from to (smtps-outbox--reason problem))))))

(defun smtps-outbox-discard (id)
  "Delete entry ID for good; return nil if it is there still.
It must be in held/ or failed/, where no process takes it up by itself."
  (let* ((file-name-handler-alist nil)
         (states (smtps-outbox-states-of id))
         (gone (smtps-outbox--directory "tmp" id)))
    (cond
     ((null states) t)
     ((not (member states '((held) (failed)))) nil)
     ;; Out of sight first: half deleted it would be damaged.
     ((smtps-outbox--claim id)
      (smtps-outbox--discard gone)
      (smtps-outbox-changed)
      t))))

;;; Reading

(defun smtps-outbox--size (file)
  "Return the octets of FILE, or nil if there is none."
  (let* ((file-name-handler-alist nil)
         (attributes (file-attributes file)))
    (and attributes (file-attribute-size attributes))))

(defun smtps-outbox--forms (file limit)
  "Return the forms in FILE, or `damaged', or nil if there is no such file.
Only whole lines count.  Of a file longer than LIMIT octets, the end is
read; then the first form is `omitted'."
  (let* ((file-name-handler-alist nil)
         (size (smtps-outbox--size file)))
    (when size
      (condition-case nil
          (with-temp-buffer
            (set-buffer-multibyte nil)
            (insert-file-contents-literally
             file nil (max 0 (- size limit)) size)
            (let ((forms (and (> size limit)
                              (progn (forward-line 1) (list 'omitted))))
                  end)
              ;; No line can be longer than the wire's, so that what is
              ;; not a form costs no more to refuse.
              (while (setq end (save-excursion (search-forward "\n" nil t)))
                (push (smtps-wire-read
                       (decode-coding-string
                        (buffer-substring (point) (1- end)) 'utf-8-unix))
                      forms)
                (goto-char end))
              (nreverse forms)))
        (smtps-wire-error 'damaged)
        ;; Renamed by its owner meanwhile.
        (file-error nil)))))

(defun smtps-outbox--form (name forms)
  "Return the properties of the first of FORMS that is called NAME."
  (let ((form (cl-find-if (lambda (form) (and (consp form) (eq (car form) name)))
                          forms)))
    (cdr form)))

(defconst smtps-outbox--last-time 253402300799
  "The end of the year 9999 in seconds since 1970: what is later can't be shown.")

(defun smtps-outbox--fits-p (type value)
  "Return non-nil if VALUE is of TYPE, one of those in `smtps-outbox--fields'."
  (pcase type
    ('text (stringp value))
    ('text? (or (null value) (stringp value)))
    ('number (integerp value))
    ('number? (or (null value) (integerp value)))
    ('time (and (integerp value) (<= 0 value smtps-outbox--last-time)))
    ('time? (or (null value) (smtps-outbox--fits-p 'time value)))
    ('name (and value (symbolp value) (not (eq value t)) (not (keywordp value))))
    ('flag (memq value '(t nil)))
    ('numbers (and (listp value) (cl-every #'integerp value)))
    ('names (and (listp value)
                 (cl-every (lambda (one)
                             (or (stringp one) (smtps-outbox--fits-p 'name one)))
                           value)))))

(defconst smtps-outbox--fields
  '((envelope :version number :id text :created time :message-id text
              :size number :not-before time?)
    (account :host text :port number :tls name :name text? :user text?
             :ca-file text? :mechanisms names :password-command text?
             :author text? :client-certificate text? :client-key text?
             :send-in-clear flag)
    (mail :ret text? :envid text? :deliver-by text? :hold-for number?
          :hold-until text? :priority number? :require-tls flag
          :all-or-none flag)
    (rcpt :notify names :orcpt text?)
    (end)
    (attempt :number number :time time? :once flag)
    (commit :attempt number? :recipients numbers)
    (result :attempt number? :recipient number :verdict name :code number?
            :enhanced text? :text text?)
    (outcome :attempt number? :verdict name :text text? :next time?)
    (retry :time time? :others flag :now flag :uncertain flag)
    (transcript :attempt number? :text text?))
  "The forms of an entry: their fields, and the type of each.
What is of another type is damage.  A question mark is for what may be
missing.  The helper has the same table.")

(defun smtps-outbox--whole-p (form)
  "Return non-nil if each field of FORM is of its type."
  (let ((fields (alist-get (car form) smtps-outbox--fields 'unknown))
        (properties (cdr form)))
    (or (eq fields 'unknown)
        (and (or (not (memq (car form) '(mail rcpt)))
                 (stringp (pop properties)))
             (zerop (% (length properties) 2))
             (cl-loop for key in properties by #'cddr always (keywordp key))
             (cl-loop for (key type) on fields by #'cddr
                      always (smtps-outbox--fits-p
                              type (plist-get properties key)))))))

(defun smtps-outbox--journal (directory)
  "Return the forms of the journal of the entry in DIRECTORY, or `damaged'.
The first is `omitted' if it was too long to be read whole."
  (let ((forms (smtps-outbox--forms (concat directory "/journal.sexp")
                                    smtps-outbox--journal-limit)))
    (if (and (consp forms)
             (cl-loop for form in forms
                      always (or (eq form 'omitted)
                                 (and (consp form) (smtps-outbox--whole-p form)))))
        forms
      (and forms 'damaged))))

(defun smtps-outbox-read (directory)
  "Return what is known of the entry in DIRECTORY, a plist.
Its properties are `:id', `:directory', and from envelope.sexp
`:created', `:not-before' (seconds since 1970; nil once its user wants it
sent all the same), `:message-id', `:size',
`:account' (a plist), `:from' and `:recipients'; from journal.sexp
`:attempts', their number, `:outcome', the last one's properties, and
`:uncertain', non-nil if somebody may have got it, or not.  A
damaged entry has the property `:damaged', a sentence, and may lack the
rest.  Return nil if there is no entry."
  (let* ((id (file-name-nondirectory (directory-file-name directory)))
         (envelope (smtps-outbox--forms (concat directory "/envelope.sexp")
                                        smtps-outbox--envelope-limit))
         (journal (smtps-outbox--journal directory))
         (entry (list :id id :directory directory)))
    (cond
     ((not (file-exists-p directory)) nil)
     ((not (file-directory-p directory))
      `(,@entry :damaged ,(format-message "the file “%s” is no mail" id)))
     ((not (smtps-outbox--envelope-p envelope id))
      `(,@entry :damaged ,(if envelope "its envelope.sexp is damaged"
                            "its envelope.sexp is missing")))
     ((not (eql (smtps-outbox--size (concat directory "/message.eml"))
                (plist-get (smtps-outbox--form 'envelope envelope) :size)))
      `(,@entry :damaged "its message.eml is missing, or was changed"))
     (t
      (let ((head (smtps-outbox--form 'envelope envelope)))
        `(,@entry
          :created ,(plist-get head :created)
          :not-before ,(and (not (smtps-outbox--released-p journal))
                            (plist-get head :not-before))
          :message-id ,(plist-get head :message-id)
          :size ,(plist-get head :size)
          :account ,(smtps-outbox--form 'account envelope)
          :from ,(car (smtps-outbox--form 'mail envelope))
          :recipients ,(cl-loop for form in envelope
                                when (eq (car form) 'rcpt)
                                collect (cadr form))
          ,@(if (eq journal 'damaged)
                '(:damaged "its journal.sexp is damaged")
              (list :attempts (cl-count-if
                               (lambda (form)
                                 (eq (car-safe form) 'attempt))
                               journal)
                    :uncertain (smtps-outbox--uncertain-p journal)
                    :outcome (smtps-outbox--form 'outcome
                                                 (reverse journal))))))))))

(defun smtps-outbox--released-p (journal)
  "Return non-nil if the mail of JOURNAL, a list of forms, is to go early."
  (and (consp journal)
       (cl-some (lambda (form)
                  (and (eq (car-safe form) 'retry) (plist-get (cdr form) :now)))
                journal)))

(defun smtps-outbox--uncertain-p (journal)
  "Return non-nil if a recipient's last result in JOURNAL, forms, is uncertain."
  (let ((open nil))
    (pcase-dolist (`(,name . ,properties) (cl-remove-if-not #'consp journal))
      (when (eq name 'result)
        (let ((index (plist-get properties :recipient)))
          (cond ((eq (plist-get properties :verdict) 'uncertain)
                 (cl-pushnew index open))
                (open (setq open (delq index open)))))))
    open))

(defun smtps-outbox-uncertain-p (entry)
  "Return non-nil if nobody knows whether ENTRY has arrived.
It is enough that it is so for one recipient."
  (and (eq (plist-get entry :state) 'failed)
       (plist-get entry :uncertain)))

(defun smtps-outbox-undecided-p (entry)
  "Return non-nil if nobody got ENTRY since somebody was refused.
Its user decides whether the others are to have it."
  (and (eq (plist-get entry :state) 'held)
       (eq (plist-get (plist-get entry :outcome) :verdict) 'held)))

(defun smtps-outbox-delayed-p (entry)
  "Return non-nil if ENTRY is not to be sent yet."
  (and (eq (plist-get entry :state) 'queue)
       (plist-get entry :not-before)
       (time-less-p nil (plist-get entry :not-before))))

(defun smtps-outbox-journal (entry)
  "Return the forms of ENTRY's journal: what was tried, and what came of it.
Of a damaged one, return nil."
  (let ((forms (smtps-outbox--journal (plist-get entry :directory))))
    (and (consp forms)
         (cl-remove-if-not #'consp forms))))

(defun smtps-outbox-fates (entry &optional journal)
  "Return the recipients of ENTRY and their results: lists (ADDRESS . PLIST).
The properties are `:verdict', `:code', `:enhanced' and `:text', as JOURNAL,
by default the entry's own, has them; for who was not tried there are none."
  (let ((results nil))
    (pcase-dolist (`(,name . ,properties)
                   (or journal (smtps-outbox-journal entry)))
      (when (eq name 'result)
        (setf (alist-get (plist-get properties :recipient) results)
              properties)))
    (cl-loop for address in (plist-get entry :recipients)
             for i from 0
             collect (cons address (alist-get i results)))))

(defun smtps-outbox-left (entry &optional others)
  "Return the recipients of ENTRY of whom it is not known that they got it.
With OTHERS, leave out those who were refused for good."
  (cl-loop for (address . result) in (smtps-outbox-fates entry)
           unless (memq (plist-get result :verdict)
                        (if others '(accepted refused) '(accepted)))
           collect address))

(defun smtps-outbox--envelope-p (forms id)
  "Return non-nil if FORMS are a whole envelope, of entry ID."
  (and (consp forms)
       (cl-every #'consp forms)
       (equal (car (last forms)) '(end))
       (cl-every #'smtps-outbox--whole-p forms)
       (let ((head (cdar forms)))
         (and (eq (caar forms) 'envelope)
              (eql (plist-get head :version) 1)
              (equal (plist-get head :id) id)))
       (smtps-outbox--form 'account forms)
       (smtps-outbox--form 'mail forms)
       (smtps-outbox--form 'rcpt forms)))

(defun smtps-outbox--names (state)
  "Return the names of the entries in the directory STATE, oldest first."
  (let ((file-name-handler-alist nil))
    (ignore-error file-error
      (directory-files (smtps-outbox--directory state) nil
                       smtps-outbox--name-regexp))))

(defconst smtps-outbox--looks 5
  "Looks at an entry that its owner may be renaming meanwhile.
A look can miss it or see it twice; so many in a row can't well all do.")

(defun smtps-outbox--look (id)
  "Return the list of states in whose directories entry ID is seen now."
  (cl-remove-if-not
   (lambda (state)
     (file-exists-p (smtps-outbox--directory (symbol-name state) id)))
   smtps-outbox-states))

(defun smtps-outbox-states-of (id)
  "Return the list of states in whose directories entry ID lies.
There is one, or none if it is unknown; in more, it is damaged."
  (let ((file-name-handler-alist nil)
        (states nil))
    (cl-loop repeat smtps-outbox--looks
             do (setq states (smtps-outbox--look id))
             until (eql (length states) 1))
    states))

(defun smtps-outbox-find (id)
  "Return entry ID as `smtps-outbox-read' does, with its `:state', or nil."
  (cl-loop
   repeat smtps-outbox--looks
   do (let* ((states (smtps-outbox-states-of id))
             (state (car states))
             (entry (and state
                         (smtps-outbox-read
                          (smtps-outbox--directory (symbol-name state) id)))))
        (cond ((null state) (cl-return nil))
              ;; Nor is it damaged that was renamed between its two files.
              ((and entry (or (cdr states)
                              (equal states (smtps-outbox--look id))))
               (cl-return
                `(:state ,state
                         ,@(and (cdr states)
                                '(:damaged "it lies in two states at once"))
                         ,@entry)))))))

(defun smtps-outbox-entries (&optional states)
  "Return the entries of the outbox in STATES (default: all), oldest first.
Each is a plist as from `smtps-outbox-read', with its `:state'.  Whole
entries that a killed process left in tmp/ have the state `tmp', and are
listed only if STATES has it, or is nil."
  (let* ((states (or states (append smtps-outbox-states '(tmp))))
         (ids nil))
    ;; The queue again at the end: an entry can come back to it.
    (dolist (state (append states (and (memq 'queue states) '(queue))))
      (dolist (id (smtps-outbox--names (symbol-name state)))
        (cl-pushnew (cons id (if (eq state 'tmp) 'tmp)) ids :test #'equal)))
    (sort
     (delq nil
           (mapcar
            (pcase-lambda (`(,id . ,tmp))
              (let ((entry (if tmp (smtps-outbox--left-behind id)
                             (smtps-outbox-find id))))
                (and entry (memq (plist-get entry :state) states) entry)))
            ids))
     (lambda (a b) (string< (plist-get a :id) (plist-get b :id))))))

(defconst smtps-outbox--writing-time 60
  "Seconds after which an entry in tmp/ is no longer being written.")

(defun smtps-outbox--left-behind (id)
  "Return the entry ID in tmp/ if it is whole and its writer is gone."
  (let* ((directory (smtps-outbox--directory "tmp" id))
         (entry (smtps-outbox-read directory)))
    (and entry
         (not (plist-get entry :damaged))
         (time-less-p (+ (plist-get entry :created) smtps-outbox--writing-time)
                      nil)
         `(:state tmp ,@entry))))

(provide 'smtps-outbox)
;;; smtps-outbox.el ends here
