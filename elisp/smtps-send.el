;;; smtps-send.el --- Hand a composed mail to the outbox  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; `smtps-send-it' is what message-mode and mail-mode call.  It works on
;; a copy of the mail.  Everything that can be known without a network is
;; checked first, and refused with an error: then nothing was sent or
;; kept.  Then the mail is put into the outbox, and from the rename that
;; does it nothing may signal or quit any more, since the mail modes take
;; an error as "not sent", and would send it again.
;;
;; The helper is then told; it does the rest, and what becomes of the mail
;; is said in the echo area.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-option)
(require 'smtps-time)
(require 'smtps-wire)
(require 'smtps-outbox)
(require 'smtps-credentials)
(require 'smtps-afterwork)

(declare-function smtps-check-certificate "smtps-check" (account))
(declare-function smtps-undo-keep "smtps-undo" (id &optional time))
(declare-function smtps-undo-let-go "smtps-undo" (buffer id))
(declare-function smtps-trust-accept "smtps-trust")
(declare-function smtps-trust-ask "smtps-trust" (server))
(declare-function smtps-helper-call "smtps-helper")
(declare-function smtps-mode-line-show "smtps-mode-line" (on))
(declare-function smtps-mode-line--look-soon "smtps-mode-line" ())
(declare-function smtps-helper-live-p "smtps-helper" ())
(declare-function smtps-helper-subscribe "smtps-helper" (topic function))
(declare-function expand-mail-aliases "mailalias"
                  (beg end &optional exclude))
(declare-function mail-insert-from-field "sendmail" ())
(declare-function mail-send "sendmail" ())
(declare-function message-send "message" (&optional arg))
(declare-function message-encode-message-body "message" ())
(declare-function message-fetch-field "message" (header &optional first))
(declare-function message-generate-new-buffer-clone-locals "message"
                  (name &optional varstr))
(declare-function message-use-send-mail-function "message" ())
(declare-function mml-quote-region "mml" (beg end))
(declare-function rfc2047-decode-string "rfc2047" (string &optional address-mime))
(declare-function rfc2047-encode-message-header "rfc2047" ())
(defvar mail-aliases)
(defvar mail-envelope-from)
(defvar mail-header-separator)
(defvar mail-specify-envelope-from)
(defvar message-buffer-list)
(defvar message-send-actions)
(defvar message-send-mail-function)
(defvar message-send-mail-hook)
(defvar message-send-mail-real-function)
(defvar message-send-method-alist)
(defvar message-sent-message-via)
(defvar message-server-alist)
(defvar message-this-is-mail)
(defvar mm-coding-system-priorities)
(defvar rfc2047-encode-encoded-words)
(defvar send-mail-function)
(defvar smtpmail-queue-mail)
(defvar smtpmail-sendto-domain)
(defvar smtps-helper-death-functions)
(defvar smtps-helper-stopping)
(defvar smtps-undo--kept)

(define-error 'smtps-send-error "Mail" 'smtps-error)

(defvar-local smtps-send--entry nil
  "The outbox's name for the mail that was sent from this buffer, or nil.")
;; A major mode that starts over in the same buffer composes another mail.
(put 'smtps-send--entry 'permanent-local nil)

(defvar-local smtps-send-replaces nil
  "The outbox's name for the mail in whose place this buffer's will be sent.
That mail is dropped once this one is in the outbox.")
(put 'smtps-send-replaces 'permanent-local nil)

(defvar-local smtps-send-replaced-fates nil
  "What had become of that mail when it was taken back to be edited.
It is a value of `smtps-outbox-fates'.")
(defvar-local smtps-send-inherited nil
  "What this buffer's mail takes from the one in whose place it is sent, a plist.
`:account', and `:from', the sender, are taken if it is from `:author' still;
`:wishes' are properties of the form `mail' in envelope.sexp, `:notices' an
alist of addresses and the properties of their forms `rcpt', `:not-before'
the time at which it was to go.")

(defun smtps-send--refuse (format-string &rest arguments)
  "Signal `smtps-send-error' with FORMAT-STRING applied to ARGUMENTS.
The sentence is completed by one that nothing was sent."
  (signal 'smtps-send-error
          (list (concat (apply #'format-message format-string arguments)
                        "  Nothing was sent."))))

(defmacro smtps-send--door (&rest body)
  "Evaluate BODY; show an `smtps-error' the way a user's own errors are.
With any other condition, Emacs would print its sentence as Lisp."
  (declare (indent 0) (debug t))
  `(condition-case problem
       (progn ,@body)
     (smtps-error
      (user-error "%s" (or (cadr problem) (error-message-string problem))))))

(defmacro smtps-send--safely (what &rest body)
  "Evaluate BODY, whose errors and quits are told, with WHAT, and end here.
The mail is in the outbox already: an error that got out would have it
sent again."
  (declare (indent 1) (debug t))
  `(condition-case problem
       (progn ,@body)
     ((error quit)
      (setq quit-flag nil)
      (smtps-send-tell
       (format "The mail is safe in the outbox, but %s: %s" ,what
               (if (eq (car problem) 'quit) "you quit"
                 (smtps-send--problem problem))))
      nil)))

(defun smtps-send--problem (problem)
  "Return the error PROBLEM in words."
  (if (and (memq 'smtps-error (get (car problem) 'error-conditions))
           (stringp (cadr problem)))
      (cadr problem)
    (error-message-string problem)))

;;; Telling

(defvar smtps-send-tell-function #'smtps-send-tell-in-echo-area
  "Function that tells the user a sentence about a mail.
It may be called from process filters and timers, and must not ask.")

(defun smtps-send-tell-in-echo-area (sentence)
  "Show SENTENCE in the echo area."
  (message "%s" sentence))

(defun smtps-send-tell (sentence)
  "Tell SENTENCE by `smtps-send-tell-function', whatever that does."
  (with-demoted-errors "smtps: %S"
    (funcall smtps-send-tell-function sentence)))

(defconst smtps-send--invisible-regexp
  "[\0-\x1f\x7f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
  "Characters that can't be seen, or change how others look.")

(defun smtps-send--line (text)
  "Return TEXT with its invisible characters replaced: one line."
  (replace-regexp-in-string smtps-send--invisible-regexp
                            "\N{REPLACEMENT CHARACTER}" text))

(defun smtps-send--visible (text)
  "Return TEXT as one line of visible characters, and not too long."
  (truncate-string-to-width (smtps-send--line text) 100 nil nil "..."))

;;; Reading the header

(defun smtps-send--fields (end)
  "Return the header fields from the buffer's start to END.
Each is a list (NAME VALUE BEGINNING END), the name in lower case, the
value as it stands, folds included.  Signal `smtps-send-error' at a line
that belongs to no field."
  (let ((fields nil)
        (case-fold-search t))
    (save-excursion
      (goto-char (point-min))
      (while (< (point) end)
        (unless (looking-at "\\([!-9;-~]+\\)[ \t]*:")
          (smtps-send--refuse
           "This is not a whole mail: \"%s\" is no line of a header."
           (smtps-send--visible
            (buffer-substring-no-properties (point) (line-end-position)))))
        (let ((name (downcase (match-string-no-properties 1)))
              (beginning (point))
              (value (match-end 0)))
          (forward-line 1)
          (while (and (< (point) end) (looking-at "[ \t]"))
            (forward-line 1))
          (goto-char (min (point) end))
          (push (list name
                      (smtps-send--text
                       (buffer-substring-no-properties value (point)))
                      beginning (point))
                fields))))
    (nreverse fields)))

(defun smtps-send--text (string)
  "Return STRING, which may be octets, as text."
  (if (multibyte-string-p string) string
    (decode-coding-string string 'utf-8-unix)))

(defun smtps-send--values (fields &rest names)
  "Return (NAME . VALUE) of those of FIELDS that are called one of NAMES."
  (cl-loop for (name value) in fields
           when (member name names) collect (cons name value)))

;;; Addresses

(defconst smtps-send--mailbox-regexp
  (let ((atom "[A-Za-z0-9!#$%&'*+/=?^_`{|}~.[:nonascii:]-]+")
        (quoted "\"\\(?:[] !#-[^-~[:nonascii:]]\\|\\\\[ -~]\\)*\"")
        (label "[A-Za-z0-9_[:nonascii:]-]+")
        (literal "\\[[!-Z^-~]+]"))
    (concat "\\`\\(?:" atom "\\|" quoted "\\)"
            "\\(?:@\\(?:" label "\\(?:\\." label "\\)*\\|" literal "\\)\\)?\\'"))
  "A mailbox as it can stand in MAIL and RCPT (RFC 5321 4.1.2, RFC 6531 3.3).
One without a domain is taken, as servers on the same machine do.  Of what
is not ASCII, invisible characters and raw bytes are refused elsewhere.
\(A range to the end of Unicode takes milliseconds to compile.)")

(defconst smtps-send--address-limit 254
  "Octets of an address: the 256 of a path, without < and > (RFC 5321 4.5.3.1.3).")

(defun smtps-send--no-character-p (character)
  "Return non-nil if CHARACTER is none of Unicode's: a raw byte, a surrogate."
  (or (> character #x10ffff) (<= #xd800 character #xdfff)))

(defun smtps-send--check-address (address field)
  "Return ADDRESS, from FIELD, if it can be sent to; else signal."
  (let ((case-fold-search nil))
    (cond
     ((string-match-p "[\0-\x1f\x7f-\u009f]" address)
      (smtps-send--refuse
       "The address \"%s\" in %s has a line break or a control character in it."
       (smtps-send--visible address) field))
     ;; An encoded word is no local part: what it stands for is not ASCII.
     ((or (not (string-match-p smtps-send--mailbox-regexp address))
          (string-match-p smtps-send--invisible-regexp address)
          (cl-find-if #'smtps-send--no-character-p address)
          (string-match-p "\\`=\\?[^?]+\\?[bBqQ]\\?" address))
      (smtps-send--refuse "\"%s\" in %s is not a mail address."
                          (smtps-send--visible address) field))
     ((> (string-bytes address) smtps-send--address-limit)
      (smtps-send--refuse "The address \"%s\" in %s is too long."
                          (smtps-send--visible address) field))
     (t address))))

(defun smtps-send--skip-comment (text start field)
  "Return the index in TEXT behind the comment that opens at START.
FIELD is named where it is not closed."
  (let ((depth 0) (i start) (done nil))
    (while (not done)
      (pcase (and (< i (length text)) (aref text i))
        ('nil (smtps-send--refuse "A parenthesis in %s is not closed." field))
        (?\\ (cl-incf i))
        (?\( (cl-incf depth))
        (?\) (cl-decf depth)
             (setq done (zerop depth))))
      (cl-incf i))
    i))

(defun smtps-send--token (regexp text start complaint field)
  "Return the end of the match of REGEXP in TEXT, a FIELD's value, at START.
If it doesn't match there, refuse with COMPLAINT, a format with \"%s\" for
FIELD and the text from START."
  (if (eql (string-match regexp text start) start)
      (match-end 0)
    (smtps-send--refuse complaint field
                        (smtps-send--visible (string-trim (substring text start))))))

(defun smtps-send-addresses (text field)
  "Return the addresses in TEXT, the value of a header FIELD.
Display names, comments and the names of groups are left out (RFC 5322
3.4).  Signal `smtps-send-error', naming FIELD, at what is no address."
  (let ((i 0) (outside "") (inside nil) (addresses nil))
    (cl-flet
        ((finish ()
           (let ((word (string-trim outside)))
             (cond (inside
                    (push (smtps-send--check-address
                           (string-trim inside "[ \t]+" "[ \t]+") field)
                          addresses))
                   ((not (string-empty-p word))
                    (push (smtps-send--check-address word field) addresses))))
           (setq outside "" inside nil)))
      (while (< i (length text))
        (let* ((char (aref text i))
               (start i))
          (pcase char
            (?\( (setq i (smtps-send--skip-comment text i field)))
            ((or ?, ?\;) (finish) (setq i (1+ i)))
            ;; What came before was the name of a group.
            (?: (setq outside "" i (1+ i)))
            (?<
             (setq i (smtps-send--token
                      "<\\(\\(?:[^\"<>]\\|\"\\(?:[^\"\\]\\|\\\\.\\)*\"\\)*\\)>"
                      text i "In %s, < and > don't match: \"%s\"." field))
             (when inside
               (smtps-send--refuse "In %s, a comma is missing after <%s>."
                                   field (smtps-send--visible inside)))
             (setq inside (match-string 1 text)
                   outside ""))
            (_
             (setq i (pcase char
                       (?\" (smtps-send--token
                             "\"\\(?:[^\"\\]\\|\\\\\\(?:.\\|\n\\)\\)*\"" text i
                             "A quotation in %s is not closed: \"%s\"." field))
                       (?\[ (smtps-send--token
                             "\\[[^]]*]" text i
                             "A bracket in %s is not closed: \"%s\"." field))
                       (_ (string-match "[](\"[,;:<]\\|\\'" text (1+ i)))))
             (let ((part (substring text start i)))
               (when (and inside (not (string-blank-p part)))
                 (smtps-send--refuse "In %s, a comma is missing after <%s>."
                                     field (smtps-send--visible inside)))
               (setq outside (concat outside part)))))))
      (finish))
    (nreverse addresses)))

(defun smtps-send--field-addresses (fields &rest names)
  "Return the addresses in those of FIELDS that are called one of NAMES."
  (cl-loop for (name . value) in (apply #'smtps-send--values fields names)
           append (smtps-send-addresses value (capitalize name))))

(defun smtps-send--distinct (addresses)
  "Return ADDRESSES with those left out that came before.
Letter case counts in the local part only."
  (let ((seen (make-hash-table :test #'equal)))
    (cl-loop for address in addresses
             for key = (if (string-match "@[^@]*\\'" address)
                           (concat (substring address 0 (match-beginning 0))
                                   (downcase (match-string 0 address)))
                         address)
             unless (gethash key seen)
             do (puthash key t seen)
             and collect address)))

;;; The envelope

(defun smtps-send--resent-p (fields)
  "Return non-nil if FIELDS are of a mail that is sent on (RFC 5322 3.6.6)."
  (smtps-send--values fields "resent-to" "resent-cc" "resent-bcc"))

(defun smtps-send--refuse-no-recipients ()
  "Signal `smtps-send-error', since the mail is for nobody."
  (smtps-send--refuse
   "The mail has no recipients: To, Cc and Bcc are empty or missing."))

(defun smtps-send--recipients (fields)
  "Return the addresses that FIELDS name as recipients; at least one.
When the mail is sent on, those of old don't count."
  (let ((found (apply #'smtps-send--field-addresses fields
                      (if (smtps-send--resent-p fields)
                          '("resent-to" "resent-cc" "resent-bcc")
                        '("to" "cc" "bcc"))))
        (domain (bound-and-true-p smtpmail-sendto-domain)))
    (unless found
      (smtps-send--refuse-no-recipients))
    (smtps-send--distinct
     (if (and domain (null (smtps-known-accounts)))
         (mapcar (lambda (address)
                   (if (string-search "@" address) address
                     (concat address "@" domain)))
                 found)
       found))))

(defun smtps-send--author (fields)
  "Return the address that FIELDS say the mail is from; signal if none."
  (or (cl-loop for names in (if (smtps-send--resent-p fields)
                                '(("resent-sender") ("resent-from")
                                  ("sender") ("from"))
                              '(("from")))
               for addresses = (apply #'smtps-send--field-addresses fields names)
               when addresses
               return (if (cdr addresses)
                          (or (car (smtps-send--field-addresses fields "sender"))
                              (car addresses))
                        (car addresses)))
      (smtps-send--refuse "The mail has no sender: From is empty or missing.")))

(defun smtps-send--sender (author)
  "Return the envelope's sender for a mail from AUTHOR."
  (let ((envelope (and (bound-and-true-p mail-specify-envelope-from)
                       (bound-and-true-p mail-envelope-from))))
    (if (stringp envelope)
        (smtps-send--check-address envelope "`mail-envelope-from'")
      author)))

(defun smtps-send--method-account (fields)
  "Return the account that the X-Message-SMTP-Method of FIELDS asks for, or nil."
  (let ((method (split-string
                 (or (cdar (smtps-send--values fields "x-message-smtp-method"))
                     ""))))
    (cond ((null method) nil)
          ((and (equal (car method) "smtp") (nth 1 method))
           (smtps--smtpmail-account (nth 1 method) (or (nth 2 method) 587)
                                    (nth 3 method)))
          (t (smtps-send--refuse
              "X-Message-SMTP-Method asks for \"%s\", which smtps can't do."
              (smtps-send--visible (string-join method " ")))))))

;;; The copy

(defconst smtps-send--private-fields
  '("bcc" "resent-bcc" "fcc" "gcc" "x-message-smtp-method")
  "Header fields, in lower case, that never leave this machine.")

(defconst smtps-send--address-fields
  '("from" "to" "cc" "bcc" "sender" "reply-to" "mail-reply-to"
    "mail-followup-to" "resent-from" "resent-to" "resent-cc" "resent-bcc"
    "resent-sender")
  "Header fields, in lower case, that have addresses (RFC 5322 3.6.2).")

(defun smtps-send--header-end (separator strict)
  "Make the header of the current buffer end with an empty line.
Return its end, a marker at that line.  SEPARATOR is the line that may
stand there instead, or \"\".  If STRICT, SEPARATOR ends the header
wherever it is, and empty lines above it are dropped."
  (goto-char (point-min))
  (when (looking-at ">?From ")
    (delete-region (point) (progn (forward-line 1) (point))))
  (let ((line (and (not (string-empty-p separator))
                   (concat "^" (regexp-quote separator) "$"))))
    (cond
     ((and line (re-search-forward (if strict line (concat line "\\|^$")) nil t))
      (replace-match ""))
     ((re-search-forward "^$" nil t))
     (t (goto-char (point-max))))
    (when (eobp) (insert "\n") (forward-line -1))
    (beginning-of-line)
    (let ((end (copy-marker (point) t)))
      (when (and line strict)
        (goto-char (point-min))
        (while (re-search-forward "^[ \t]*\n" end t)
          (replace-match "")))
      end)))

(defun smtps-send--date ()
  "Return the time now as a Date field has it (RFC 5322 3.3)."
  (let ((system-time-locale "C"))
    (format-time-string "%a, %d %b %Y %H:%M:%S %z")))

(defun smtps-send--message-id (author)
  "Return a new Message-ID in the domain of AUTHOR, not in this machine's."
  (format "<%s.smtps@%s>" (smtps-outbox-new-id)
          (if (string-match "@\\([A-Za-z0-9._-]+\\)\\'" author)
              (match-string 1 author)
            "localhost")))

(defun smtps-send--encode (end coding)
  "Make octets of the current buffer, whose header ends at END.
Text outside ASCII is made MIME, unless the header says that it is: then
it is encoded by the coding system CODING."
  (let ((mm-coding-system-priorities '(utf-8))
        (mail-header-separator "")
        (rfc2047-encode-encoded-words nil))
    (goto-char end)
    (when (and (re-search-forward "[^\0-\177]" nil t)
               (not (smtps-send--values (smtps-send--fields end)
                                        "mime-version")))
      (require 'message)
      ;; What looks like a tag of MML is just text here.
      (mml-quote-region (1+ end) (point-max))
      (message-encode-message-body))
    (save-restriction
      (goto-char (point-min))
      (re-search-forward "^$")
      (narrow-to-region (point-min) (point))
      (goto-char (point-min))
      (when (re-search-forward "[^\0-\177]" nil t)
        (require 'rfc2047)
        (rfc2047-encode-message-header)))
    (encode-coding-region (point-min) (point-max) coding)
    (set-buffer-multibyte nil)))

(defun smtps-send--coding (source)
  "Return the coding system for text in SOURCE that is MIME already.
A file's text becomes the octets that it was read from."
  (let ((coding (buffer-local-value 'buffer-file-coding-system source)))
    (coding-system-change-eol-conversion
     (if (and coding (buffer-file-name source)
              (not (eq (coding-system-type coding) 'undecided)))
         coding
       'utf-8)
     'unix)))

(defun smtps-send--insert (source)
  "Insert all of the buffer SOURCE, whose text is then whole lines ended by LF."
  (let ((copy (current-buffer)))
    (with-current-buffer source
      (save-restriction
        (widen)
        (let ((beginning (point-min))
              (end (point-max)))
          (with-current-buffer copy
            (insert-buffer-substring-no-properties source beginning end))))))
  (unless (eq (char-before) ?\n)
    (insert "\n"))
  (goto-char (point-min))
  (end-of-line)
  (when (eq (char-before) ?\r)
    (while (search-forward "\r\n" nil t)
      (replace-match "\n" t t)))
  (goto-char (point-min)))

(defun smtps-send--prepare (source)
  "Make the current buffer the octets of the mail in SOURCE, as they are sent.
Return its envelope, a plist as `smtps-outbox-put' takes it, with
`:author', the address in From, and `:bcc', that header field or nil.
Signal an `smtps-error' if the mail can't be sent as it is."
  (let* ((multibyte (buffer-local-value 'enable-multibyte-characters source))
         (mode (buffer-local-value 'major-mode source))
         (mail-mode (provided-mode-derived-p mode 'mail-mode))
         (strict (or mail-mode (provided-mode-derived-p mode 'message-mode)))
         (separator (with-current-buffer source
                      (or (bound-and-true-p mail-header-separator) "")))
         (envelope nil)
         end fields)
    (set-buffer-multibyte multibyte)
    (smtps-send--insert source)
    (setq end (smtps-send--header-end separator strict))
    (when mail-mode
      (when (bound-and-true-p mail-aliases)
        (expand-mail-aliases (point-min) end))
      (unless (smtps-send--values (smtps-send--fields end) "from")
        (goto-char (point-min))
        (mail-insert-from-field)))
    (unless multibyte
      (smtps-send--decode-local-parts end))
    (setq fields (smtps-send--fields end)
          ;; Where the mail was composed, variables may have local values.
          envelope (with-current-buffer source
                     (smtps-send--envelope fields)))
    (setq envelope (plist-put envelope :bcc (smtps-send--bcc fields)))
    ;; From the last to the first, so that the places stay true.
    (pcase-dolist (`(,name ,value ,beginning ,finish) (reverse fields))
      (when (or (member name smtps-send--private-fields)
                ;; An empty one, servers have been known to choke on.
                (and multibyte (equal name "subject") (string-blank-p value)))
        (delete-region beginning finish)))
    (smtps-send--strip-partial fields end)
    (goto-char end)
    (unless (smtps-send--values fields "message-id")
      (insert-before-markers "Message-ID: " (plist-get envelope :message-id)
                             "\n"))
    (unless (smtps-send--values fields "date")
      (insert-before-markers "Date: " (smtps-send--date) "\n"))
    (when multibyte
      (smtps-send--encode end (smtps-send--coding source)))
    envelope))

(defconst smtps-send--name-and-local-regexp
  (let ((plain "[^][(),:;<>@\\\"\0- ]"))
    (concat "\\`\\(?:" plain "\\(?:" plain "\\| \\)*<\\)?" plain "+\\'"))
  "A mailbox up to its at sign (RFC 5322 3.4), with a plain name or none.")

(defun smtps-send--decode-local-parts (end)
  "Make encoded words that are parts of addresses UTF-8, in the header up to END.
message.el encodes what is not ASCII in an address as if it were a name,
which no server takes (RFC 2047 5); it can be sent as it is (RFC 6532)."
  (let ((case-fold-search t)
        (word "=\\?utf-8\\?[bq]\\?[^? \t\n]*\\?="))
    ;; From the last to the first, so that the places stay true.
    (pcase-dolist (`(,name ,_ ,beginning ,finish)
                   (reverse (smtps-send--fields end)))
      (when (member name smtps-send--address-fields)
        (let ((finish (copy-marker finish)))
          (goto-char beginning)
          (while (re-search-forward
                  (concat "\\(" word "\\(?:\n?[ \t]+" word "\\)*\\)@") finish t)
            (let ((text (save-match-data
                          (require 'rfc2047)
                          (rfc2047-decode-string (match-string 1)))))
              ;; What is more than a name and an address stays, and is refused.
              (when (string-match-p smtps-send--name-and-local-regexp text)
                (replace-match (encode-coding-string text 'utf-8)
                               t t nil 1)))))))))

(defun smtps-send--bcc (fields)
  "Return those of FIELDS that are Bcc or Resent-Bcc, as they are sent, or nil."
  (let ((lines (cl-loop for (name value) in fields
                        when (and (member name '("bcc" "resent-bcc"))
                                  (not (string-blank-p value)))
                        concat (format "%s: %s\n" (capitalize name)
                                       (string-trim value)))))
    (unless (string-empty-p lines)
      (with-temp-buffer
        (insert lines)
        (when (string-match-p "[^\0-\177]" lines)
          (require 'rfc2047)
          (rfc2047-encode-message-header))
        (buffer-string)))))

(defun smtps-send--strip-partial (fields end)
  "Delete private fields from the header that the body begins with, if it does.
So it is in the first part of a mail that message.el split (RFC 2046
5.2.2), as FIELDS tell.  The body's header begins behind END."
  (when (string-match-p "\\`[ \t\n]*message/partial;\\(?:.\\|\n\\)*\\bnumber=1\\b"
                        (or (cdar (smtps-send--values fields "content-type"))
                            ""))
    (save-excursion
      (goto-char end)
      (forward-line 1)
      (let ((case-fold-search t)
            (limit (save-excursion
                     (copy-marker (if (re-search-forward "^$" nil t) (point)
                                    (point-max))))))
        (while (re-search-forward
                (concat "^" (regexp-opt smtps-send--private-fields)
                        "[ \t]*:.*\n\\(?:[ \t].*\n\\)*")
                limit t)
          (replace-match ""))))))

(defun smtps-send--envelope (fields)
  "Return the envelope of a mail with the header FIELDS, a plist.
It is read off in the buffer where the mail was composed.  Signal an
`smtps-error' if FIELDS lack what is needed."
  (let* ((recipients (smtps-send--recipients fields))
         (author (smtps-send--author fields))
         (given (string-trim
                 (or (cdar (smtps-send--values fields "message-id")) ""))))
    (list :recipients recipients
          :author author
          :from (or (smtps-send--inherited :from author)
                    (smtps-send--sender author))
          :wishes (smtps-send--wishes)
          :notices (plist-get smtps-send-inherited :notices)
          :account (smtps-send--by (smtps-send--chosen-account fields author)
                                   author)
          :message-id (if (string-empty-p given)
                          (smtps-send--message-id author)
                        (smtps-send--visible given)))))

(defun smtps-send--inherited (key author)
  "Return the KEY of `smtps-send-inherited', if its mail was from AUTHOR, too."
  (and (equal author (plist-get smtps-send-inherited :author))
       (plist-get smtps-send-inherited key)))

(defun smtps-send--chosen-account (fields author)
  "Return the account for a mail with FIELDS from AUTHOR that is composed here."
  (or (smtps-send--method-account fields)
      (smtps-send--inherited :account author)
      (smtps-account-for author)))

(defun smtps-send--wishes ()
  "Return what is asked of the server for the mail composed here."
  (let ((own (and (eq smtps-refused-recipients 'hold) '(:all-or-none t))))
    (append own
            (cl-loop for (key value)
                     on (plist-get smtps-send-inherited :wishes) by #'cddr
                     unless (plist-member own key) append (list key value)))))

(defun smtps-send--by (account author)
  "Return ACCOUNT with AUTHOR, an address, who logs in where it has no user."
  (if (or (plist-get account :user) (plist-get account :author))
      account
    (append account (list :author author))))

;;; The copy in a file

(defun smtps-send--encoded (source)
  "Return a new buffer with the mail in SOURCE, encoded as message.el sends it.
The user's buffer stays as it is."
  (with-current-buffer source
    (let ((text (buffer-substring-no-properties (point-min) (point-max)))
          (copy (message-generate-new-buffer-clone-locals " smtps message")))
      (with-current-buffer copy
        (insert text)
        (message-encode-message-body))
      copy)))

(defun smtps-send-write-copy (source file &optional bcc)
  "Write the mail in the buffer SOURCE into FILE, as it is sent.
With BCC, its Bcc field stands in it, for a program that takes recipients
from there.  Return its envelope, as `smtps-send--prepare' does."
  (let* ((composed (with-current-buffer source (derived-mode-p 'message-mode)))
         (copy (if composed (smtps-send--encoded source) source)))
    (unwind-protect
        (with-temp-buffer
          (let ((envelope (smtps-send--prepare copy))
                (coding-system-for-write 'binary)
                (write-region-annotate-functions nil)
                (write-region-post-annotation-function nil))
            (when (and bcc (plist-get envelope :bcc))
              (goto-char (point-min))
              (insert (plist-get envelope :bcc)))
            (write-region nil nil file nil 'silent)
            envelope))
      (when composed
        (kill-buffer copy)))))

;;; The buffer that the mail was composed in

(defun smtps-send--composed-in (source)
  "Return the buffer in which the mail in SOURCE was composed, or nil.
message.el hands a copy to its send function: the original is the buffer
with the same Message-ID."
  (with-current-buffer source
    (if (not (string-prefix-p " message temp" (buffer-name)))
        source
      (save-excursion
        (goto-char (point-min))
        (let* ((case-fold-search t)
               (limit (save-excursion
                        (if (re-search-forward
                             (concat "^\\(?:"
                                     (regexp-quote mail-header-separator)
                                     "\\)?$")
                             nil t)
                            (point)
                          (point-max))))
               ;; What is sent on has the Message-ID of another mail.
               (id (and (not (save-excursion
                               (re-search-forward "^Resent-\\(?:To\\|Cc\\|Bcc\\):"
                                                  limit t)))
                        (re-search-forward "^Message-ID:[ \t]*\\(<[^>\n]+>\\)"
                                           limit t)
                        (match-string-no-properties 1))))
          (and id
               (cl-find-if (lambda (buffer)
                             (smtps-send--holds-p buffer id))
                           ;; Of two that share their text, it is the one
                           ;; that is seen.
                           (cons (window-buffer) (buffer-list)))))))))

(defun smtps-send--holds-p (buffer id)
  "Return non-nil if BUFFER composes the message whose Message-ID is ID."
  (with-current-buffer buffer
    (and (derived-mode-p 'message-mode)
         (save-excursion
           (save-restriction
             (widen)
             (goto-char (point-min))
             (let ((case-fold-search t))
               (re-search-forward
                (concat "^Message-ID:[ \t]*" (regexp-quote id))
                (save-excursion
                  (or (re-search-forward
                       (concat "^" (regexp-quote mail-header-separator) "$")
                       nil t)
                      (point-max)))
                t)))))))

(defun smtps-send--check-again (buffer)
  "Ask, if the mail composed in BUFFER went to the outbox before.
That happens when the mail mode was interrupted after it had, and takes
the mail for unsent.  Signal `smtps-send-error' if it isn't to be sent."
  (let* ((id (buffer-local-value 'smtps-send--entry buffer))
         (entry (and id (smtps-outbox-find id))))
    (when (and entry
               ;; Unless the mail mode has asked just now.
               (not (with-current-buffer buffer
                      (if (derived-mode-p 'mail-mode)
                          (not (buffer-modified-p))
                        (memq 'mail (bound-and-true-p
                                     message-sent-message-via))))))
      (unless (smtps-send--yes-p
               (format "This mail is in the outbox already (%s).  Send it once more? "
                       (smtps-send--state-in-words entry)))
        (signal 'smtps-send-error
                (list (format-message
                       "This mail was in the outbox already (%s, as %s).  It \
was not sent once more."
                       (smtps-send--state-in-words entry) id)))))))

(defun smtps-send--check-replaced (buffer recipients)
  "Ask, if the mail in whose place that of BUFFER is sent has gone meanwhile.
Somebody may have let it go, or tried it again, and some of RECIPIENTS may
have got it.  Signal `smtps-send-error' if this one isn't to be sent."
  (let* ((id (buffer-local-value 'smtps-send-replaces buffer))
         (entry (and id (smtps-outbox-find id)))
         (gone (and id (memq (plist-get entry :state) '(nil queue active sent))))
         (got (and entry (not gone)
                   (smtps-send--got-meanwhile
                    entry recipients
                    (buffer-local-value 'smtps-send-replaced-fates buffer))))
         (what (cond (gone (format "The mail as it was before edited is %s"
                                   (smtps-send--state-in-words entry)))
                     (got (format "%s got the mail as it was before edited, or \
may have got it"
                                  (smtps-send--visible (string-join got ", ")))))))
    (when what
      (unless (smtps-send--yes-p (concat what ".  Send this one, too? "))
        (signal 'smtps-send-error
                (list (format-message "%s, as %s.  This one was not sent."
                                      what id))))
      (when gone
        ;; What became of it stays to be seen.
        (with-current-buffer buffer
          (setq smtps-send-replaces nil))))))

(defun smtps-send--got-meanwhile (entry recipients fates)
  "Return those of RECIPIENTS who got ENTRY, or may have, since it had FATES."
  (cl-loop for (address . result) in (smtps-outbox-fates entry)
           for before = (cdr (assoc address fates))
           when (and (memq (plist-get result :verdict) '(accepted uncertain))
                     (not (equal result before))
                     (cl-member (downcase address) recipients
                                :test #'string= :key #'downcase))
           collect address))

(defun smtps-send--yes-p (prompt)
  "Ask PROMPT; return nil if nobody can answer."
  (and (not noninteractive)
       (not executing-kbd-macro)
       (yes-or-no-p prompt)))

(defun smtps-send--state-in-words (entry)
  "Return what state ENTRY is in, in words."
  (pcase (plist-get entry :state)
    ('sent "sent")
    ('failed "not sent")
    ('held "waiting for you")
    ('active "being sent")
    ('queue "about to be sent")
    (_ "no longer in the outbox")))

;;; Sending

(defconst smtps-send--pause 1
  "Seconds until it is looked again whether a mail mode has gone on.")

(defvar smtps-send--sending nil
  "Non-nil while a mail mode waits for `smtps-send-it' to return.")

(defvar smtps-send--trouble nil
  "Why the helper can't be told of mail, a sentence, or nil.")

;;;###autoload
(defun smtps-send-it ()
  "Send the mail in the current buffer: put it into the outbox, wake the helper.
This is for `send-mail-function' and `message-send-mail-function', which
`smtps-mode' sets.  It returns when the mail is safe on disk; what becomes
of it is told later.  In batch, it waits for that, and signals an error
where the mail was not accepted, as smtpmail does.

Signal an error, and leave nothing behind, if the mail can't be sent as it
is or can't be kept."
  (smtps-send--door
    (smtps-send--check-options)
    (smtps-send--run-hook)
    (let* ((source (current-buffer))
           (composed (smtps-send--composed-in source))
           (inhibit-quit t)
           (smtps-send--sending t)
           id envelope afterwork)
      (with-temp-buffer
        (let ((inhibit-quit nil))
          (when composed
            (smtps-send--check-again composed))
          (setq envelope (smtps-send--schedule (smtps-send--prepare source)
                                               composed)
                afterwork (smtps-send--collect composed envelope))
          ;; Last, since much may happen while a person is asked.
          (when composed
            (smtps-send--check-replaced composed
                                        (plist-get envelope :recipients))
            (setq envelope `(:replaces ,(buffer-local-value 'smtps-send-replaces
                                                            composed)
                                       ,@envelope))))
        (setq id (smtps-outbox-put
                  envelope afterwork
                  (if (with-current-buffer source
                        (bound-and-true-p smtpmail-queue-mail))
                      'held
                    'queue)
                  ;; A script hears of it before this returns.
                  (not noninteractive))))
      ;; From here on, nothing may signal: the mail is in the outbox.
      (smtps-send--after id envelope composed afterwork)
      ;; A key pressed meanwhile must not have the mail taken for unsent.
      (setq quit-flag nil)
      (when (and noninteractive
                 (not (equal (smtps-outbox-states-of id) '(held))))
        (smtps-send--await id)))))

(defun smtps-send--check-options ()
  "Signal `smtps-send-error' if an option that sending obeys can't be obeyed."
  (condition-case problem
      (mapc #'smtps-option '(smtps-outbox-directory smtps-send-delay
                             smtps-refused-recipients smtps-keep-sent-days))
    (smtps-option-error (smtps-send--refuse "%s" (cadr problem)))))

(defconst smtps-send--soon 60
  "Seconds within which mail that is to be sent is in flight for who quits.
The time to it is told in seconds, too.")

(defun smtps-send--schedule (envelope composed)
  "Return ENVELOPE with the time at which the mail composed in COMPOSED may go.
COMPOSED is a buffer or nil.  With a prefix argument, ask for the time."
  (let* ((before (and composed
                      (plist-get (buffer-local-value 'smtps-send-inherited composed)
                                 :not-before)))
         (time (cond (noninteractive nil)
                     ;; The keys of a macro answer, too, or it ends here.
                     ((and current-prefix-arg composed) (smtps-send--read-time))
                     ((and before (time-less-p nil before)) before))))
    (cond (time
           `(:not-before
             ,time
             :wishes
             (,@(plist-get envelope :wishes)
              ,@(and smtps-future-release
                     (list :hold-until
                           (format-time-string "%Y-%m-%dT%H:%M:%SZ" time t))))
             ,@envelope))
          ((and (not noninteractive) (> (smtps-option 'smtps-send-delay) 0))
           ;; The outbox has whole seconds: it may take a part of one longer.
           (let ((due (float-time (time-add nil smtps-send-delay))))
             `(:not-before ,(ceiling due) :due ,due ,@envelope)))
          (t envelope))))

(defun smtps-send--read-time ()
  "Ask for a time to send a mail at; return it in seconds since 1970."
  (let ((read (smtps-time-read "Send it")))
    (if (stringp read) (smtps-send--refuse "%s" read) read)))

(defun smtps-send--run-hook ()
  "Run `message-send-mail-hook' where message.el has left that to us."
  (when (and (bound-and-true-p message-this-is-mail)
             (not (and (eq message-send-mail-function
                           #'message-use-send-mail-function)
                       (null message-send-mail-real-function))))
    (run-hooks 'message-send-mail-hook)))

(defun smtps-send--collect (composed envelope)
  "Return what is to follow the acceptance of the mail composed in COMPOSED.
ENVELOPE is the mail's.  Signal an `smtps-error' if that can't be."
  (condition-case problem
      (smtps-afterwork-collect composed envelope)
    (smtps-afterwork-error
     (smtps-send--refuse "%s" (cadr problem)))))

(defvar smtps-send--last nil
  "The mail that was put into the outbox last, by this Emacs, or nil.")

(defun smtps-send--after (id envelope composed afterwork)
  "Do what follows once the mail is in the outbox as ID.
ENVELOPE is its envelope, COMPOSED the buffer it was composed in, or nil,
and AFTERWORK the list of forms of what is to follow its acceptance."
  (let* ((account (plist-get envelope :account))
         (held (equal (smtps-outbox-states-of id) '(held)))
         (not-before (and (not held) (plist-get envelope :not-before)))
         (sentence (if held "Kept in the outbox until you send it"
                     (smtps-send--promise (plist-get account :host)
                                          (or (and not-before
                                                   (plist-get envelope :due))
                                              not-before))))
         ;; What stands against it is known only when the helper was told.
         (say (lambda ()
                (smtps-send-tell (if (or held (null smtps-send--trouble)) sentence
                                   (smtps-send--trouble-in-words)))))
         (later nil))
    (setq smtps-send--last id)
    (when (buffer-live-p composed)
      (with-current-buffer composed
        (setq smtps-send--entry id
              smtps-send-replaces nil)
        (smtps-send--safely "what is to be done later may be done at once"
          (smtps-afterwork-take-over))
        (when (or not-before
                  (cl-some (lambda (form) (plist-get (cdr form) :here))
                           afterwork))
          (smtps-send--safely "its buffer could not be kept"
            (smtps-undo-keep id not-before)))
        (setq later (smtps-send--safely "its buffer could not be marked"
                      (smtps-send--say-when-done say)))))
    (smtps-send--safely "the mode line could not show it"
      (smtps-send--show))
    (smtps-outbox-changed)
    (when (and afterwork (not noninteractive))
      (smtps-send--look-after id))
    (unless held
      ;; Out of a question one can get by `top-level', which is no quit.
      (unwind-protect
          (smtps-send--safely "its password could not be fetched"
            (let ((inhibit-quit nil))
              (smtps-credentials-fetch account)
              (smtps-credentials-fetch-passphrase account)))
        ;; What was told while a person was being asked, nobody has read.
        (smtps-send--tell-anew id)
        (smtps-send--safely "the helper could not be told"
          (smtps-send--wake))))
    (unless (or noninteractive later)
      (funcall say))))

(defun smtps-send--show ()
  "Have the mode line show mail, if `smtps-mode' has not come to that yet."
  (when (and smtps-mode (not noninteractive)
             (not (memq #'smtps-mode-line--look-soon smtps-outbox-change-hook)))
    (smtps-mode-line-show t)))

(defun smtps-send--promise (host not-before)
  "Return words for a mail to HOST, to be sent at NOT-BEFORE, or now if nil."
  (if (null not-before)
      (format "Queued for %s" host)
    (let ((seconds (round (float-time (time-subtract not-before nil)))))
      (format "It goes to %s %s; %s takes it back" host
              (if (> seconds smtps-send--soon)
                  (smtps-time-in-words not-before)
                (concat "in " (smtps-time-count seconds "second")))
              (substring-no-properties
               (substitute-command-keys "\\[smtps-undo-send]"))))))

(defun smtps-send--say-when-done (say)
  "Have the function SAY called once message.el has said \"Sending...done\".
Return nil if it does not say that here."
  (when (and (derived-mode-p 'message-mode) (not noninteractive))
    (let (action)
      (setq action (lambda ()
                     (setq message-send-actions
                           (remq action message-send-actions))
                     ;; Else message.el may kill it when others are sent.
                     (when (bound-and-true-p smtps-undo--kept)
                       (setq message-buffer-list
                             (delq (current-buffer) message-buffer-list)))
                     (funcall say)))
      (setq-local message-send-actions (cons action message-send-actions)))))

;;;###autoload
(defun smtps-send-divert ()
  "Have the mail in this buffer sent by smtps in spite of its header.
message.el would itself send by smtpmail what has the header field
X-Message-SMTP-Method with `smtp'.  `smtps-mode' puts this function on
`message-send-hook'."
  (when (or (bound-and-true-p message-server-alist)
            (save-excursion
              (save-restriction
                (widen)
                (goto-char (point-min))
                (let ((case-fold-search t))
                  (re-search-forward
                   "^X-Message-SMTP-Method:[ \t]*smtp[ \t]"
                   (save-excursion
                     (and (re-search-forward
                           (concat "^" (regexp-quote mail-header-separator)
                                   "$")
                           nil t)
                          (point)))
                   t)))))
    (unless message-send-mail-real-function
      (setq-local message-send-mail-real-function #'smtps-send-it))))

;;;###autoload
(defun smtps-send-check-recipients ()
  "Signal `user-error' if the mail in this buffer is for nobody.
message.el would say that no methods to send by are specified.
`smtps-mode' puts this function on `message-send-hook'."
  (unless (or (cl-some (lambda (method) (funcall (nth 1 method)))
                       message-send-method-alist)
              ;; Only to be filed: message.el asks.
              (message-fetch-field "Fcc")
              (message-fetch-field "Gcc"))
    (smtps-send--door
      (smtps-send--refuse-no-recipients))))

;;;###autoload
(defun smtps-send-buffer ()
  "Send the mail in the current buffer by smtps.
In a buffer that mail is composed in, this is what the command of its mode
does, whatever the send functions are set to.  Any other buffer must hold
a whole mail: a header with From and recipients, an empty line, a body;
it is sent as it is."
  (interactive)
  (let ((send-mail-function #'smtps-send-it)
        (message-send-mail-function #'smtps-send-it)
        (message-send-mail-real-function #'smtps-send-it))
    (cond ((derived-mode-p 'message-mode) (message-send))
          ((derived-mode-p 'mail-mode) (mail-send))
          (t (let ((message-this-is-mail nil))
               (smtps-send-it))))))

;;; The helper

(defvar smtps-send--listening nil
  "Non-nil once the helper's events and calls lead here.")

(defvar smtps-send--again nil
  "What the user had the helper try again: an alist of ids and attempts so far.")

(defvar smtps-send--stopped nil
  "Non-nil if the helper that ended last was stopped, and did not die.")

(defun smtps-send--listen ()
  "Lead here what the helper has to say about mail."
  (require 'smtps-helper)
  (unless smtps-send--listening
    (smtps-credentials-serve)
    (smtps-helper-subscribe 'outbox #'smtps-send--event)
    (add-hook 'smtps-helper-death-functions #'smtps-send--death)
    (setq smtps-send--listening t)))

(defun smtps-send--wake (&optional id &rest properties)
  "Have the helper send what is in the outbox, and above all the mail ID.
PROPERTIES are more arguments of the helper's method for it."
  (setq smtps-send--trouble nil
        smtps-send--stopped nil)
  (condition-case problem
      (progn
        (smtps-send--listen)
        (smtps-helper-call
         (if id 'outbox-retry 'outbox-drain)
         `(:outbox ,(smtps-outbox--directory)
                   ,@(and (smtps-option 'smtps-keep-sent-days)
                          (list :keep-sent-days smtps-keep-sent-days))
                   ,@(and id `(:id ,id ,@properties)))
         :else #'smtps-send--unwoken))
    (error (smtps-send--unwoken problem))))

(defun smtps-send--unwoken (problem)
  "Tell that the helper did not take the mail, because of PROBLEM, an error."
  (setq smtps-send--trouble (smtps-send--problem problem)
        smtps-send--again nil)
  (unless noninteractive
    (smtps-send-tell (smtps-send--trouble-in-words))))

(defun smtps-send--trouble-in-words ()
  "Return a sentence that mail is not sent, because of `smtps-send--trouble'."
  (format-message
   "The mail is safe in the outbox, but was not sent yet: %s.  When that is \
mended, M-x smtps-send-queued sends it."
   (string-remove-suffix "." smtps-send--trouble)))

(defun smtps-send--death (sentence)
  "Tell SENTENCE, why the helper died, and what is left in the outbox.
Have it started anew, to judge what it left; that sends nothing twice."
  (setq smtps-send--trouble sentence
        smtps-send--stopped (bound-and-true-p smtps-helper-stopping)
        smtps-send--again nil)
  (smtps-outbox-changed)
  (let ((waiting (length (smtps-outbox--names "queue")))
        (active (length (smtps-outbox--names "active"))))
    (when (and (not noninteractive) (< 0 (+ waiting active)))
      (smtps-send-tell
       (format "%s.  In the outbox: %d to be sent, %d interrupted.  %s"
               (string-remove-suffix "." sentence) waiting active
               (if (smtps-send--revive) "The helper is started anew."
                 "M-x smtps-send-queued goes on."))))))

(defconst smtps-send--revive-seconds 60
  "Seconds in which a helper that dies again is not started by itself.")

(defvar smtps-send--revived nil
  "When the helper was started by itself last since it had died, or nil.")

(defun smtps-send--revive ()
  "Have the helper that died started anew soon, and return non-nil.
Return nil if it was stopped, or has died again right away."
  (unless (or smtps-send--stopped
              (and smtps-send--revived
                   (time-less-p nil (time-add smtps-send--revived
                                              smtps-send--revive-seconds))))
    (setq smtps-send--revived (current-time))
    (run-at-time smtps-send--pause nil
                 (lambda ()
                   ;; Unless it was started for something else meanwhile.
                   (when smtps-send--trouble
                     (smtps-send--wake))))))

(defun smtps-send--interrupted-p ()
  "Return non-nil if what lies in active/ was left by a helper that is dead.
That is, of ours: of what others send nothing is known here.  One that was
stopped finishes what it is at."
  (and smtps-send--trouble
       (not smtps-send--stopped)
       (not (and (featurep 'smtps-helper) (smtps-helper-live-p)))))

(defvar smtps-send--told nil
  "What was told of each mail last: an alist of ids and sentences.")

(defconst smtps-send--told-limit 100
  "The number of mails of which it is remembered what was told.
Enough that an event which is repeated is not told again.")

(defun smtps-send--tell-anew (id)
  "Forget what was told of the mail ID, so that it is told if it comes again."
  (setf (alist-get id smtps-send--told nil t #'equal) nil))

(defvar smtps-send--waiting nil
  "Why mails wait for their user: an alist of ids and events, the last first.
Each event has the properties `:waits' (`secret', `trust', `setup' if
something has to be mended first, or `decision' where a recipient was
refused and the mail is held), `:host' and `:port', and for trust the
server's `:key' and a `:text'.")

(defvar smtps-send--sought nil
  "The ids of mails whose password was looked for by itself.")

(defun smtps-send--event (event)
  "Take EVENT, the properties of an event `outbox' of the helper.
Where a password lacks that a plain file may have, it is looked for first:
so it is after a start, when nobody has sent a mail yet."
  (let ((id (plist-get event :id)))
    (if (not (and (eq (plist-get event :waits) 'secret)
                  (eq (plist-get event :verdict) 'later)
                  (stringp id)
                  (not noninteractive)
                  (not (member id smtps-send--sought))))
        (progn
          (when (and (plist-get event :verdict)
                     (not (eq (plist-get event :verdict) 'later)))
            (setq smtps-send--sought (delete id smtps-send--sought)))
          (smtps-send--take event))
      (push id smtps-send--sought)
      ;; To read files in a filter would keep the user from the keys.
      (run-at-time 0 nil #'smtps-send--seek event))))

(defun smtps-send--seek (event)
  "Look for the password that the mail of EVENT waits for, if that asks nothing.
A key ends that, and it is done later."
  (let* ((entry (smtps-outbox-find (plist-get event :id)))
         (account (and entry (smtps-send--account entry)))
         (found (and account
                     (while-no-input
                       (smtps-credentials-at-hand account)
                       (list (smtps-credentials-login account))))))
    (cond ((eq found t)
           (run-at-time smtps-send--pause nil #'smtps-send--seek event))
          ((car found) (smtps-send--wake))
          (t (smtps-send--take event)))))

(defun smtps-send--take (event)
  "Note EVENT, the properties of an event of a mail, and tell it if it's news."
  (let* ((id (plist-get event :id))
         (alike (or (smtps-send--waits-alike-p event)
                    (smtps-send--waits-still-p event)))
         (sentence (smtps-send--sentence event)))
    (smtps-send--note event)
    (smtps-outbox-changed)
    (when (and (stringp id)
               (or (plist-get event :afterwork)
                   (memq (plist-get event :state) '(sent failed))))
      ;; In a filter nothing may be filed, which may take long.
      (run-at-time 0 nil #'smtps-send--follow id))
    (when (and sentence
               (not (equal sentence (cdr (assoc id smtps-send--told)))))
      (setf (alist-get id smtps-send--told nil nil #'equal) sentence)
      (when (nthcdr smtps-send--told-limit smtps-send--told)
        (setf (nthcdr smtps-send--told-limit smtps-send--told) nil))
      (unless (or noninteractive alike)
        (smtps-send-tell (concat (smtps-send--label id) sentence))))
    (when (and (stringp id)
               (not noninteractive)
               (or (memq (plist-get event :state) '(sent failed))
                   (eq (plist-get event :waits) 'decision)))
      (smtps-outbox-told id))))

(defun smtps-send--follow (id)
  "Do what is to follow the fate of the mail ID and can be done here and now."
  (let ((directory (plist-get (smtps-outbox-find id) :directory)))
    (cond
     ;; What is given back to its buffer now, the mail mode would do, too.
     (smtps-send--sending
      (run-at-time smtps-send--pause nil #'smtps-send--follow id))
     ((and directory (smtps-afterwork-helpers-p directory)))
     ((and directory (smtps-afterwork-to-load directory))
      (run-at-time smtps-send--pause nil #'smtps-send--load-and-follow id))
     (t
      (with-demoted-errors "smtps: %S"
        (smtps-send--tell-left id (smtps-afterwork-run id))
        (smtps-send--tell-owed id))
      (dolist (buffer (buffer-list))
        (when (equal (buffer-local-value 'smtps-send--entry buffer) id)
          (smtps-undo-let-go buffer id)))
      (smtps-outbox-changed)))))

(defun smtps-send--load-and-follow (id)
  "Load what the afterwork of the mail ID needs, and do it.
Loading gives way to a key, and is then done later."
  (let* ((directory (plist-get (smtps-outbox-find id) :directory))
         (loaded (while-no-input
                   (mapc #'require (and directory
                                        (smtps-afterwork-to-load directory)))
                   'loaded)))
    (if (eq loaded 'loaded)
        (smtps-send--follow id)
      (run-at-time smtps-send--pause nil #'smtps-send--load-and-follow id))))

(defvar smtps-send--owed nil
  "The ids of mails of which it was told that something waits for a client.")

(defun smtps-send--tell-owed (id)
  "Tell what is still owed to the mail ID until a client is loaded, once.
Then that is done."
  (let* ((entry (smtps-outbox-find id))
         (owed (and entry
                    (smtps-afterwork-accepted-p entry)
                    (smtps-afterwork-await (plist-get entry :directory)
                                           #'smtps-send-follow-up))))
    (when (and owed (not (member id smtps-send--owed)))
      (push id smtps-send--owed)
      (smtps-send-tell
       (format "%s%s" (or (smtps-send--label id) "")
               (smtps-send--line (string-join owed "  ")))))))

(defconst smtps-send--look-seconds 60
  "Seconds between looks at what is to follow the acceptance of a mail.
Another Emacs may have it sent, or its client be started later.")

(defun smtps-send--look-after (id)
  "Look from time to time whether what follows the mail ID can be done."
  (run-at-time
   smtps-send--look-seconds nil
   (lambda ()
     (let ((directory (plist-get (smtps-outbox-find id) :directory)))
       (when (and directory (smtps-afterwork--file directory))
         (smtps-send--follow id)
         (smtps-send--look-after id))))))

(defun smtps-send--tell-left (id sentences)
  "Tell SENTENCES, what failed after the mail ID was accepted."
  (when sentences
    (smtps-send-tell
     (format-message "%s%s  The mail itself was sent; F in M-x \
smtps-outbox tries again."
                     (or (smtps-send--label id) "")
                     (smtps-send--line (string-join sentences "  "))))))

;;;###autoload
(defun smtps-send-follow-up ()
  "Do what is left to be done for accepted mail, and can be done now.
To look through many mails takes a while: a key ends that, and it is done
when Emacs is idle again."
  (let ((entries (while-no-input (smtps-afterwork-waiting))))
    (if (eq entries t)
        (run-with-idle-timer smtps-send--pause nil #'smtps-send-follow-up)
      (when (cl-some (lambda (entry)
                       (smtps-afterwork-helpers-p (plist-get entry :directory)))
                     entries)
        (smtps-send--wake))
      (dolist (entry entries)
        (smtps-send--follow (plist-get entry :id))))))

(defun smtps-send--waits-alike-p (event)
  "Return non-nil if another mail waits for the same answer as that of EVENT."
  (and (memq (plist-get event :waits) '(secret setup trust))
       (cl-find-if (lambda (other)
                     (and (not (equal (car other) (plist-get event :id)))
                          (cl-every (lambda (key)
                                      (equal (plist-get (cdr other) key)
                                             (plist-get event key)))
                                    '(:waits :host :port :key :verdict))))
                   smtps-send--waiting)))

(defun smtps-send--waits-still-p (event)
  "Return non-nil if the mail of EVENT waits for a password, as it did before.
So it does whenever others are sent; a login that was refused is news."
  (and (eq (plist-get event :waits) 'secret)
       (not (eq (plist-get event :verdict) 'login))
       (eq 'secret (plist-get (cdr (assoc (plist-get event :id)
                                          smtps-send--waiting))
                              :waits))))

(defun smtps-send--note (event)
  "Note what a mail waits for after EVENT, and what became of its login."
  (let* ((id (plist-get event :id))
         (waits (plist-get event :waits))
         (verdict (plist-get event :verdict))
         (account (and (stringp id)
                       (memq verdict '(login later accepted))
                       (smtps-send--account (smtps-outbox-find id)))))
    ;; What follows an acceptance is no news of those who have not got it.
    (unless (plist-get event :afterwork)
      (setf (alist-get id smtps-send--waiting nil t #'equal)
            (and waits event)))
    (when account
      (pcase verdict
        ('accepted (smtps-credentials-accepted account))
        ('later (smtps-credentials-passphrase-refused account))
        ((guard (not (memq waits '(trust setup))))
         (smtps-credentials-forget account))))))

(defconst smtps-send--header-octets 16384
  "Octets of a message in which its subject is looked for.")

(defun smtps-send--label (id)
  "Return what a person knows the mail ID by, and a colon; nil if it is gone.
That is its subject, or its first recipient where it has none."
  (let* ((state (car (and (stringp id) (smtps-outbox-states-of id))))
         (directory (and state
                         (smtps-outbox--directory (symbol-name state) id)))
         (subject (and state (smtps-send--subject directory)))
         (to (and state (not subject)
                  (car (plist-get (smtps-outbox-read directory) :recipients)))))
    (cond (subject (format "“%s”: " subject))
          (to (format "Mail to %s: " (smtps-send--visible to))))))

(defun smtps-send--subject (directory)
  "Return the subject of the entry in DIRECTORY, short; nil if it has none."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    ;; It may be renamed meanwhile.
    (ignore-error file-error
      (insert-file-contents-literally (concat directory "/message.eml")
                                      nil 0 smtps-send--header-octets))
    (goto-char (point-min))
    (narrow-to-region (point) (if (re-search-forward "^$" nil t) (point)
                                (point-max)))
    (smtps-send--short (or (mail-fetch-field "Subject") ""))))

(defun smtps-send--short (subject)
  "Return SUBJECT, as it stands in a header, decoded and short; nil if empty."
  (require 'rfc2047)
  (let ((text (string-trim (replace-regexp-in-string
                            "[ \t\n]+" " " (smtps-send--text subject)))))
    (unless (string-empty-p text)
      (truncate-string-to-width (smtps-send--line (rfc2047-decode-string text))
                                50 nil nil "..."))))

(defun smtps-send--sentence (event)
  "Return what is to be told of EVENT, the properties of an event, or nil."
  (let ((state (plist-get event :state))
        (text (plist-get event :text)))
    (cond ((and (eq state 'active) (null (plist-get event :verdict))) nil)
          ((and (eq (plist-get event :waits) 'secret)
                (not (eq (plist-get event :verdict) 'login)))
           (format-message "Mail waits in the outbox for a password (%s): \
M-x smtps-answer" (plist-get event :host)))
          ((eq (plist-get event :waits) 'secret)
           (format-message "%s  M-x smtps-answer asks for it anew."
                           (smtps-send--line text)))
          ((eq (plist-get event :waits) 'setup)
           (format-message "%s  When that is mended, M-x smtps-answer tries \
again." (smtps-send--line text)))
          ((eq (plist-get event :waits) 'decision)
           (format-message "%s  M-x smtps-outbox: o sends it to the others, e \
edits it." (smtps-send--line text)))
          ((plist-get event :waits)
           (format-message "%s.  The mail waits in the outbox: M-x \
smtps-answer shows the certificate, and asks."
                           ;; The rest is shown there.
                           (car (split-string (smtps-send--line text)
                                              "\\.\\(?: \\|\\'\\)"))))
          ((and (plist-get event :next)
                (not (eq (plist-get event :verdict) 'not-yet))
                (smtps-send--waiting-sentence event)))
          ((eq (plist-get event :afterwork) 'failed)
           (format-message "%s  The mail itself was sent; F in M-x \
smtps-outbox tries again." (smtps-send--line text)))
          ((not (and (stringp text) (not (string-blank-p text)))) nil)
          ((eq state 'failed) (smtps-send--failed-sentence event))
          (t (smtps-send--line text)))))

(defun smtps-send--failed-sentence (event)
  "Return what became of the mail of EVENT, which failed, and what can be done."
  (let* ((id (plist-get event :id))
         (entry (smtps-outbox-find id)))
    (format "%s  M-x smtps-outbox: %s."
            ;; Where it is kept, the list shows.
            (smtps-send--line
             (string-remove-suffix
              (format " The mail is kept as %s in the outbox under failed." id)
              (plist-get event :text)))
            (smtps-send--failed-step entry (eq (plist-get event :verdict)
                                               'uncertain)))))

(defun smtps-send--failed-step (entry uncertain)
  "Return the keys of the outbox for ENTRY, which failed or is UNCERTAIN."
  (cond (uncertain "m if you find that it arrived, r sends it again")
        ((and entry (< (length (smtps-outbox-left entry))
                       (length (plist-get entry :recipients))))
         "f sends it again to who has not got it, e edits it")
        (t "e edits it, r sends it again")))

(defun smtps-send--waiting-sentence (event)
  "Return why the mail of EVENT waits, and the time of its next try, or nil."
  (let* ((outcome (plist-get (smtps-outbox-find (plist-get event :id)) :outcome))
         (text (plist-get outcome :text)))
    (when (and text (equal (plist-get outcome :next) (plist-get event :next)))
      (format "%s  The mail is kept in the outbox; next try at %s."
              (smtps-send--line text)
              (format-time-string "%R" (plist-get event :next))))))

(defun smtps-send--forget-login (id)
  "Forget the password of the mail ID's account, which may have been refused."
  (let ((account (smtps-send--account (smtps-outbox-find id))))
    (when account
      (smtps-credentials-forget account))))

;;; Quitting

(defun smtps-send--in-flight ()
  "Return the mails that are being sent, or are to be sent now or soon."
  (cl-remove-if-not (lambda (entry) (smtps-send--due-p entry smtps-send--soon))
                    (smtps-outbox-entries '(queue active))))

(defun smtps-send-query-quit ()
  "Return non-nil if Emacs may quit, as far as mail is concerned.
With mail in flight, ask; where nobody can be asked, the mail stays in the
outbox, and is sent from there later."
  (let ((mails (and (smtps-credentials--can-ask-p)
                    ;; A daemon that nobody looks at has no terminal.
                    (not (equal (terminal-name) "initial_terminal"))
                    (smtps-send--in-flight))))
    (or (null mails)
        (pcase (car (read-multiple-choice
                     (format "%s not sent yet." (if (cdr mails)
                                                    (format "%d mails are"
                                                            (length mails))
                                                  "A mail is"))
                     '((?w "wait" "Wait until it is sent, then quit")
                       (?l "leave in the outbox"
                           "Quit; the next Emacs, or smtps outbox flush, sends it"))))
          (?l t)
          (_ (smtps-send--wait-to-quit mails))))))

(defconst smtps-send--poll 0.05
  "Seconds between two looks at the outbox while waiting for mail in it.")

(defun smtps-send--wait-to-quit (mails)
  "Wait until each of MAILS was tried, and return t.
If one was not sent, ask.  Return nil if the user wants Emacs to go on."
  (let ((left mails))
    (smtps-send--wake)
    (dolist (mail mails)
      ;; A person waits for it: not only at its next time.
      (when (and (plist-get (plist-get mail :outcome) :next)
                 (not (smtps-outbox-delayed-p mail)))
        (smtps-send--wake (plist-get mail :id))))
    (condition-case nil
        (progn
          (while (and (setq left (cl-remove-if #'smtps-send--tried-p left))
                      (not smtps-send--trouble))
            (let ((message-log-max nil))
              (message "Sending, %d left... (%s stops waiting)" (length left)
                       (substitute-command-keys "\\[keyboard-quit]")))
            (accept-process-output nil smtps-send--poll))
          (let ((unsent (delq nil (mapcar #'smtps-send--unsent mails))))
            (or (null unsent)
                (yes-or-no-p
                 (format "%s%s  Quit all the same? "
                         (if (cdr unsent)
                             (format "%d mails were not sent.  " (length unsent))
                           "")
                         (car unsent))))))
      (quit (message "Emacs goes on; so does the mail")
            nil))))

(defun smtps-send--tried-p (before)
  "Return non-nil if the mail that was BEFORE, an entry, was sent or tried since."
  (let ((entry (smtps-outbox-find (plist-get before :id)))
        (attempts (or (plist-get before :attempts) 0)))
    (pcase (plist-get entry :state)
      ('active nil)
      ('queue (or (null (smtps-send--goes-at entry))
                  (and (plist-get entry :outcome)
                       (> (plist-get entry :attempts)
                          ;; That one was under way.
                          (if (eq (plist-get before :state) 'active)
                              (1- attempts)
                            attempts)))))
      (_ t))))

(defun smtps-send--unsent (before)
  "Return a sentence if the mail that was BEFORE, an entry, has not been sent."
  (let* ((id (plist-get before :id))
         (entry (smtps-outbox-find id))
         (outcome (plist-get entry :outcome)))
    (unless (memq (plist-get entry :state) '(sent nil))
      (format "%sIt %s: %s"
              (or (smtps-send--label id) "")
              (cond ((smtps-outbox-uncertain-p entry) "may have been sent, or not")
                    ((and entry (smtps-afterwork-accepted-p entry))
                     "was not sent to all")
                    (t "was not sent"))
              (smtps-send--line (or (and (smtps-send--tried-p before)
                                         (plist-get outcome :text))
                                    smtps-send--trouble
                                    "it waits."))))))

;;; What waits

(defun smtps-send--account (entry)
  "Return the account of ENTRY, and who logs in there, or nil if it has none.
That is its sender where it was frozen without an author, as for the helper."
  (let ((account (plist-get entry :account)))
    (and account (smtps-send--by account (plist-get entry :from)))))

(defun smtps-send--accounts-of (entries)
  "Return the accounts of ENTRIES, each once."
  (cl-delete-duplicates (delq nil (mapcar #'smtps-send--account entries))
                        :test #'equal))

;;;###autoload
(defun smtps-send-queued (&optional quietly)
  "Send the mail that waits in the outbox.
Look first for the passwords that it needs; a key ends that.
If QUIETLY, say nothing where nothing waits, and look for no passwords,
which might ask: mail that needs one then waits for `smtps-answer'."
  (interactive)
  (if quietly
      ;; In a timer: thousands of mails would take too long to read.
      (when (or (smtps-outbox--names "queue") (smtps-outbox--names "active"))
        (smtps-send--wake))
    (smtps-send--door
      (let* ((entries nil)
             ;; To read thousands takes a while.  The helper sends them all;
             ;; of what was not read, it says which password it lacks.
             (key (while-no-input
                    (dolist (id (append (smtps-outbox--names "queue")
                                        (smtps-outbox--names "active")))
                      (let ((entry (smtps-outbox-find id)))
                        (when (and entry (not (plist-get entry :damaged)))
                          (push entry entries)))))))
        (if (not (or entries key))
            (smtps-send-tell "Nothing waits in the outbox")
          (dolist (account (smtps-send--accounts-of entries))
            (smtps-credentials-fetch account))
          (smtps-send--try-again entries))))))

(defun smtps-send--try-again (entries)
  "Have the helper send ENTRIES, which were tried before or not."
  (setq smtps-send--again (mapcar (lambda (entry)
                                    (cons (plist-get entry :id)
                                          (plist-get entry :attempts)))
                                  entries))
  ;; What is said of them again is news, and what they waited for is past.
  (dolist (entry entries)
    (let ((id (plist-get entry :id)))
      (smtps-send--tell-anew id)
      (setf (alist-get id smtps-send--waiting nil t #'equal) nil)))
  (smtps-send--wake))

(defun smtps-send-entry (entry &rest properties)
  "Have ENTRY sent to all who have not got it, wherever it lies.
PROPERTIES are `:now' t, to send it before its time, `:others' t: those
who were refused are left out, and the rest get it even if it was for all
or none, and `:uncertain' t: those who may have got it get it again.  Its
password is looked for, which may ask."
  (dolist (account (smtps-send--accounts-of (list entry)))
    (smtps-credentials-fetch account)
    (smtps-credentials-fetch-passphrase account))
  (let ((id (plist-get entry :id)))
    (setf (alist-get id smtps-send--again nil nil #'equal)
          (plist-get entry :attempts))
    (smtps-send--tell-anew id)
    (unless noninteractive
      (smtps-outbox-to-be-told id))
    (apply #'smtps-send--wake id properties)))

;;;###autoload
(defun smtps-send-waiting ()
  "Return what mails in the outbox wait for a person's answer, oldest first.
Each is a plist of `:entry' (the mail, as from `smtps-outbox-entries'),
`:waits' (`secret', `trust' or `setup'), `:host', `:port', `:key' and
`:text'.  Mail that has not been tried since Emacs was started is not among
them."
  (cl-loop for entry in (smtps-outbox-entries '(queue))
           for event = (cdr (assoc (plist-get entry :id) smtps-send--waiting))
           when (and event (not (plist-get entry :damaged)))
           collect `(:entry ,entry ,@event)))

;;;###autoload
(defun smtps-answer ()
  "Answer what mail in the outbox waits for: certificates and passwords.
Then that mail is sent, and what waited for something to be mended is tried
again.  Passwords that were typed, and that a server
took, are offered to be saved."
  (interactive)
  (smtps-send--door
    (let* ((waiting (smtps-send-waiting))
           (saves (smtps-credentials-unsaved-p))
           (tried (cl-remove-if-not #'smtps-send--waits-for-you-p
                                    (smtps-outbox-entries '(queue))))
           (known (mapcar (lambda (one) (plist-get (plist-get one :entry) :id))
                          waiting))
           (answers (append (smtps-send--answer-trust
                             (smtps-send--those-for 'trust waiting))
                            (smtps-send--answer-secrets
                             (smtps-send--those-for 'secret waiting))
                            (and (smtps-send--those-for 'setup waiting)
                                 '(again))))
           (left (cl-remove-if-not #'stringp answers)))
      (smtps-credentials-save)
      (cond
       (left (smtps-send-tell (string-join left "  ")))
       ((not (or tried saves answers))
        (smtps-send-tell "No mail waits for an answer")))
      ;; What it waits for is not known if it was tried by another Emacs.
      (when (or (memq 'again answers)
                (cl-some (lambda (entry)
                           (not (member (plist-get entry :id) known)))
                         tried))
        (smtps-send--try-again tried)))))

(defun smtps-send--those-for (what waiting)
  "Return those of WAITING, as from `smtps-send-waiting', that wait for WHAT."
  (cl-remove-if-not (lambda (one) (eq (plist-get one :waits) what)) waiting))

(defun smtps-send--answer-trust (waiting)
  "Ask about the certificates that WAITING mails wait for, each once.
Return for each what `smtps-send--answer-server' does."
  (mapcar #'smtps-send--answer-server
          (cl-delete-duplicates
           (copy-sequence waiting) :from-end t
           :test (lambda (a b)
                   (cl-every (lambda (key)
                               (equal (plist-get a key) (plist-get b key)))
                             '(:host :port :key))))))

(defconst smtps-send--identity-refused 77
  "Exit status that tells that a server's certificate is refused: EX_NOPERM.")

(defun smtps-send--answer-server (server)
  "Ask whether to trust SERVER, an element of `smtps-send-waiting'.
Return a sentence if it stays refused, `again' if its mail is to be tried
again, nil if that will be done once the helper knows of the answer."
  (require 'smtps-trust)
  (require 'smtps-check)
  (let* ((account (plist-get (plist-get server :entry) :account))
         (shown (and (smtps-credentials--can-ask-p)
                     (smtps-check-certificate account)))
         (lines (cdr shown))
         (key (plist-get server :key))
         (how nil))
    (cond
     ;; Trusted by now; or another key, which the helper has to see first.
     ((or (eql (car shown) 0)
          (and (eql (car shown) smtps-send--identity-refused)
               (not (cl-some (lambda (line) (string-search key line)) lines))))
      'again)
     ((setq how (smtps-trust-ask
                 (append (list :lines (cl-remove-if-not
                                       (lambda (line)
                                         (string-match-p "\\`[- ]" line))
                                       lines))
                         server)))
      (smtps-trust-accept server how
                          :then (lambda ()
                                  (smtps-send--try-again
                                   (smtps-outbox-entries '(queue)))))
      nil)
     (t
      (format-message "Rejected: nothing is sent to %s, and the mail waits in \
the outbox; M-x smtps-answer asks again." (plist-get server :host))))))

(defun smtps-send--answer-secrets (waiting)
  "Ask for the passwords and passphrases that WAITING mails wait for.
Return for each account `again' if its mail is to be tried again, or a
sentence if something is lacking."
  (mapcar #'smtps-send--answer-secret
          (cl-delete-duplicates
           (append (smtps-send--accounts-of
                    (mapcar (lambda (one) (plist-get one :entry)) waiting))
                   (smtps-credentials-wanted))
           :from-end t :test #'smtps-credentials-same-p)))

(defun smtps-send--answer-secret (account)
  "Ask for what ACCOUNT lacks; return as `smtps-send--answer-secrets' does."
  (let ((passphrase (smtps-credentials-passphrase-wanted-p account)))
    (cond
     ((not (smtps-credentials-fetch-passphrase account))
      (format-message "The passphrase of the client key for %s was not given."
                      (plist-get account :host)))
     ((smtps-credentials-fetch account
                               ;; With a certificate, it may be enough.
                               :ask (not passphrase))
      'again)
     ((and passphrase (null (plist-get account :user))) 'again)
     (t (smtps-send--lacking account)))))

(defun smtps-send--lacking (account)
  "Return a sentence that ACCOUNT's password is not known."
  (format-message "No password for %s: auth-source has no entry “%s”."
                  (plist-get account :host)
                  (smtps-credentials-sought account)))

(defun smtps-send--waits-for-you-p (entry)
  "Return non-nil if ENTRY was tried, and is not tried again by itself."
  (and (not (plist-get entry :damaged))
       (plist-get entry :outcome)
       (null (plist-get (plist-get entry :outcome) :next))))

(defun smtps-send--goes-at (entry)
  "Return when ENTRY is sent by itself, in seconds since 1970; 0 if it is now.
Return nil if it waits for its user."
  (unless (plist-get entry :damaged)
    (pcase (plist-get entry :state)
      ('active 0)
      ('queue (let* ((outcome (plist-get entry :outcome))
                     (try (if (or (null outcome)
                                  ;; The helper was told, and hasn't come to it.
                                  (eql (plist-get entry :attempts)
                                       (cdr (assoc (plist-get entry :id)
                                                   smtps-send--again))))
                              0
                            ;; Without a next time, it waits for you.
                            (plist-get outcome :next))))
                (and try (max try (or (plist-get entry :not-before) 0))))))))

(defun smtps-send--due-p (entry &optional seconds)
  "Return non-nil if ENTRY is being sent, or is to be within SECONDS (default 0)."
  (let ((time (smtps-send--goes-at entry)))
    (and time (time-less-p time (time-add nil (or seconds 0))))))

;;;###autoload
(defun smtps-outbox-wait (&optional seconds)
  "Wait until nothing in the outbox is being sent or is to be sent now.
Return non-nil if then no mail waits in it any more.  Return nil if some
does: for its next attempt, for you, or since SECONDS have passed (default:
no limit), or since the helper can't run."
  (smtps-send--door (smtps-option 'smtps-outbox-directory))
  (let ((deadline (and seconds (time-add nil seconds)))
        (helper nil)
        (waiting nil))
    (while (and (setq waiting (smtps-outbox-entries '(queue active held)))
                (cl-some #'smtps-send--due-p waiting)
                (or (not helper)
                    (and (not smtps-send--trouble) (smtps-helper-live-p)))
                (or (null deadline) (time-less-p nil deadline)))
      (unless helper
        (setq helper t)
        (smtps-send--wake))
      (accept-process-output nil smtps-send--poll))
    (null waiting)))

(defun smtps-send--await (id)
  "Wait for the fate of the mail ID; signal `smtps-send-error' if not accepted.
For batch: what was not accepted is then kept, but not sent later behind
the script's back."
  (let (entry state outcome)
    (while (progn
             (setq entry (smtps-outbox-find id)
                   state (plist-get entry :state)
                   outcome (plist-get entry :outcome))
             (pcase (and (not (plist-get entry :damaged)) state)
               ('queue
                (if (or outcome smtps-send--trouble)
                    ;; Lost, if the helper has just taken it.
                    (not (smtps-outbox-move id 'queue 'held))
                  t))
               ('active (not smtps-send--trouble))))
      (accept-process-output nil smtps-send--poll))
    (smtps-send--await-afterwork id)
    (unless (eq state 'sent)
      ;; The event that tells of it may still be on its way.
      (when (eq (plist-get outcome :verdict) 'login)
        (smtps-send--forget-login id))
      (signal 'smtps-send-error
              (list (smtps-send--batch-sentence entry state outcome))))))

(defconst smtps-send--helper-seconds 150
  "Seconds in which the helper must have done what follows an acceptance.
It gives notmuch two minutes.")

(defun smtps-send--await-afterwork (id)
  "Wait until what is to follow the fate of the mail ID is done, as far as it is."
  (let ((deadline (time-add nil smtps-send--helper-seconds))
        entry)
    (while (and (setq entry (smtps-outbox-find id))
                (smtps-afterwork-accepted-p entry)
                (smtps-afterwork-helpers-p (plist-get entry :directory))
                (not smtps-send--trouble)
                (smtps-helper-live-p)
                (time-less-p nil deadline))
      (accept-process-output nil smtps-send--poll))
    (smtps-send--tell-left id (smtps-afterwork-run id))
    (when (and entry (smtps-afterwork-accepted-p entry))
      (dolist (form (smtps-afterwork-left entry))
        (unless (smtps-afterwork--get form :client)
          (smtps-send-tell (smtps-afterwork-sentence form)))))))

(defun smtps-send--batch-sentence (entry state outcome)
  "Return what is said in batch of ENTRY that was not accepted.
STATE is where it was found, OUTCOME the properties of its last outcome."
  (let ((id (plist-get entry :id)))
    (if (null state)
        "The mail was taken out of the outbox by somebody else."
      (format "%s%s  The mail is kept in %s and is not sent by itself."
              (or (plist-get outcome :text) (cdr (assoc id smtps-send--told))
                  smtps-send--trouble "The mail was not accepted.")
              (if (eq (plist-get outcome :verdict) 'later)
                  (concat "  "
                          (smtps-send--lacking
                           (car (smtps-send--accounts-of (list entry)))))
                "")
              (smtps-outbox--directory
               (symbol-name (if (and (eq state 'queue)
                                     (not (plist-get entry :damaged)))
                                'held
                              state))
               id)))))

(provide 'smtps-send)
;;; smtps-send.el ends here
